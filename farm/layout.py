"""Where each file lies below OUT. Clips are spread over 256 folders by the first two characters of their id."""

from __future__ import annotations

CLIPS = "clips"
THUMBS = "thumbs"
INDEX = "index"
FAILED = "failed"
ATTEMPTS = "attempts"
STATE = "state"

RECORD_SUFFIX = ".json"
VIDEO_SUFFIX = ".mp4"
BEGIN_SUFFIX = ".begin"
STATE_SUFFIX = ".safetensors"


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


def state_path(clip_id: str, *, epoch: int, step: int) -> str:
    """The clip after so many denoising steps, as that worker kept it."""
    return f"{state_folder(clip_id)}/{clip_id}-{epoch:06d}-{step:05d}{STATE_SUFFIX}"


def clip_id_of(path: str) -> str:
    """The clip that a record, video, thumbnail, strip, dead letter, mark or state belongs to."""
    return path.rsplit("/", 1)[-1].split(".", 1)[0].split("-", 1)[0]
