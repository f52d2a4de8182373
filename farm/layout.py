"""Where each file lies below OUT. Clips are spread over 256 folders by the first two characters of their id."""

from __future__ import annotations

from datetime import UTC, datetime

CLIPS = "clips"
THUMBS = "thumbs"
INDEX = "index"
FAILED = "failed"
ATTEMPTS = "attempts"
STATE = "state"
RUNS = "runs"
UNINDEXED = "unindexed"
REFS = "refs"
JOBS = "jobs"
OPEN = "open"
LISTING = "listing"
EXPIRY = "expiry"
REMOVING = "removing"
IDEMPOTENCY = "idempotency"
KEYS = "keys"
INPUTS = "inputs"
MANIFESTS = "manifests"

RECORD_SUFFIX = ".json"
VIDEO_SUFFIX = ".mp4"
BEGIN_SUFFIX = ".begin"
STATE_SUFFIX = ".safetensors"
TOMBSTONE_SUFFIX = ".deleted"


def record_path(clip_id: str) -> str:
    """The commit record: its presence alone means that the clip is done."""
    return f"{CLIPS}/{clip_id[:2]}/{clip_id}{RECORD_SUFFIX}"


def video_path(clip_id: str, *, sha256: str) -> str:
    """A video under a name that bears its content, so that rivals never overwrite each other."""
    return f"{CLIPS}/{clip_id[:2]}/{clip_id}-{sha256[:8]}{VIDEO_SUFFIX}"


def thumbnail_path(clip_id: str) -> str:
    return f"{THUMBS}/{clip_id[:2]}/{clip_id}.webp"


def strip_path(clip_id: str) -> str:
    return f"{THUMBS}/{clip_id[:2]}/{clip_id}.strip.webp"


def failed_path(clip_id: str) -> str:
    return f"{FAILED}/{clip_id}{RECORD_SUFFIX}"


def attempts_folder(clip_id: str) -> str:
    return f"{ATTEMPTS}/{clip_id}"


def state_folder(clip_id: str) -> str:
    """One of 256, as clips come and go: a folder for each would be left behind, empty, on a local disk."""
    return f"{STATE}/{clip_id[:2]}"


def begin_path(clip_id: str, *, epoch: int) -> str:
    """The mark of whoever began the clip as number `epoch`."""
    return f"{state_folder(clip_id)}/{clip_id}-{epoch:06d}{BEGIN_SUFFIX}"


def tombstone_path(clip_id: str, *, epoch: int) -> str:
    """Says that the clip was deleted after all turns with a lower number."""
    return f"{state_folder(clip_id)}/{clip_id}-{epoch:06d}{TOMBSTONE_SUFFIX}"


def state_path(clip_id: str, *, epoch: int, step: int) -> str:
    """The clip after so many denoising steps, as that worker kept it."""
    return f"{state_folder(clip_id)}/{clip_id}-{epoch:06d}-{step:05d}{STATE_SUFFIX}"


def clip_id_of(path: str) -> str:
    """The clip that a record, video, thumbnail, strip, dead letter, mark, tombstone or state belongs to."""
    return path.rsplit("/", 1)[-1].split(".", 1)[0].split("-", 1)[0]


def report_path(run_id: str) -> str:
    """The page that shows a run at its end."""
    return f"{run_folder(run_id)}/report.html"


def run_folder(run_id: str) -> str:
    return f"{RUNS}/{run_id}"


def manifest_folder(sha256: str) -> str:
    """A manifest that was submitted from a machine whose files the cluster does not see; it is read here, and stays."""
    return f"{MANIFESTS}/{sha256}"


def rows_path(run_id: str) -> str:
    """Every admitted row of a run with its clip."""
    return f"{run_folder(run_id)}/rows.parquet"


def unindexed_path(clip_id: str, *, nonce: str) -> str:
    """Says that rows of the index tell of a record that is gone."""
    return f"{UNINDEXED}/{clip_id}-{nonce}"


def ref_path(clip_id: str, holder: str) -> str:
    """Says that somebody wants the clip kept."""
    return f"{REFS}/{clip_id}/{holder}"


def open_path(job_id: str) -> str:
    """The job, for as long as it is not at its end."""
    return f"{OPEN}/{job_id}"


def job_folder(job_id: str) -> str:
    return f"{JOBS}/{job_id}"


def job_path(job_id: str) -> str:
    """The job from its end on."""
    return f"{job_folder(job_id)}/spec.json"


def job_state_path(job_id: str, *, seq: int) -> str:
    return f"{job_folder(job_id)}/state/{seq:06d}.json"


def job_lease_folder(job_id: str) -> str:
    return f"{job_folder(job_id)}/lease"


def job_cancel_path(job_id: str) -> str:
    """The wish that the job be cancelled."""
    return f"{job_folder(job_id)}/cancel.json"


def hour_of(seconds: float) -> str:
    """A moment's hour as folders are named by it, in UTC: names sort as times do."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d-%H")


def listing_path(project: str, job_id: str, *, created_at: float) -> str:
    """Says that the project has this job; by the hour of its creation."""
    return f"{LISTING}/{project}/{hour_of(created_at)}/{job_id}"


def expiry_path(job_id: str, *, expires_at: float) -> str:
    """Says that the job may go after this hour."""
    return f"{EXPIRY}/{hour_of(expires_at)}/{job_id}"


def removing_path(job_id: str) -> str:
    """Says that the job is being removed, whoever has to finish that."""
    return f"{REMOVING}/{job_id}"


def idempotency_path(digest: str) -> str:
    return f"{IDEMPOTENCY}/{digest}.json"


def key_path(digest: str) -> str:
    return f"{KEYS}/{digest}.json"
