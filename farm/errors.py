"""Every error the farm raises on purpose. Who catches decides by class, never by text.

FarmError
├── UsageError              the call cannot be carried out as asked              exit 2
│   ├── ManifestError       unreadable, empty, truncated, or of the wrong columns
│   ├── ModelError          no such model, or a folder that is none
│   ├── OutputError         OUT cannot be written, or is not shared by all nodes
│   └── RunHeldError        another driver holds the run
├── ClipError               one clip cannot be made; the others go on            exit 1
│   ├── InputError          its input is bad: dead letter, never retried
│   ├── TextError           its prompt cannot be encoded, however often it is tried: dead letter
│   └── RenderError         its render failed: once more with a tamer plan, then dead letter
│       ├── NotFiniteError      NaN or infinity in latents or frames
│       └── MemoryExhaustedError  device or host memory ran out
├── TransientError          lost worker, throttled storage: try again, costs the clip no attempt
│   ├── GangError           the gang broke at a clip: rebuilt, and the clip goes on where its state was kept
│   │   ├── RankLostError       a rank's process died
│   │   ├── HangError           no heartbeat within the gang's deadline
│   │   └── LeaderLostError     the gang's leader died, which its successor at the clip found
│   ├── GangStartError      the gang did not come up: says nothing about a clip
│   ├── TakenOverError      another worker has begun this clip since: this one stops
│   ├── ClipGoneError       the clip that was to answer a job has been deleted: render it
│   └── QueueAwayError      the dispatcher of online jobs does not answer: the storage has the last word anyhow
├── JobError                an online job is not what the call takes it for
│   ├── IdempotencyConflict     the key came with another request before
│   ├── JobEndedError           nothing more can become of it
│   └── JobActiveError          only a job at its end can be removed
├── ClipYielded             a clip was put down at a checkpoint because its worker was told to stop
├── StorageError            a storage operation failed (action, path, advice)
│   ├── NotFoundError       nothing stands under that path
│   ├── AlreadyExistsError  a create-only put came second
│   └── StorageUnavailableError  out of reach for longer than the retries last (a TransientError too)
└── Interrupted             stopped by a signal or by Ray's end, resumable       exit 75
    └── LeaseLostError      another driver took the run over
"""

from __future__ import annotations

from typing import ClassVar


class FarmError(Exception):
    """Base of all; `exit_code` is what the command returns when nothing catches it."""

    exit_code: ClassVar[int] = 1


class UsageError(FarmError):
    """The call, manifest, model or output cannot be used: one clear message, nothing half-made."""

    exit_code = 2


class ManifestError(UsageError):
    """The manifest as a whole cannot be used. A bad row is no error: it is rejected and the run goes on."""


class ModelError(UsageError):
    """The model is not where it was looked for, or what stands there is no model."""


class OutputError(UsageError):
    """The output cannot be written, or the nodes do not share it."""


class RunHeldError(UsageError):
    """Another driver holds this run's lease; the message says who and where."""


class ClipError(FarmError):
    """One clip cannot be made. `exit_code` 1 is the run's, with all other clips done."""


class InputError(ClipError):
    """The clip's own input is at fault, so no retry can help."""


class TextError(ClipError):
    """The text encoder fails at the clip's prompt again and again, and at others it does not."""


class RenderError(ClipError):
    """The render produced NaN or ran out of memory: a tamer plan may help, once."""


class NotFiniteError(RenderError):
    """NaN or infinity turned up in the latents or the frames."""


class MemoryExhaustedError(RenderError):
    """The device or the host had no memory left for this clip."""


class TransientError(FarmError):
    """What was asked may succeed when tried again; it says nothing about the clip."""


class GangError(TransientError):
    """The gang broke while it was at a clip; counts against the clip unless it had got further than before."""


class RankLostError(GangError):
    """A rank's process ended; the message says which and how."""


class HangError(GangError):
    """No rank made itself heard for longer than this gang's own deadline; the message holds the ranks' stacks."""


class LeaderLostError(GangError):
    """The process that led the clip's rendering died; nobody could tell but whoever took the clip up after it."""


class GangStartError(TransientError):
    """The gang's ranks did not come up: no clip's fault."""


class TakenOverError(TransientError):
    """Another worker has begun this clip since; what this one makes of it no longer counts."""


class QueueAwayError(TransientError):
    """The dispatcher does not answer, or another has taken its place; nothing is lost by that."""


class ClipGoneError(TransientError):
    """The clip that was to answer a job is being deleted, or is gone since it was looked at: render it again."""


class JobError(FarmError):
    """An online job is not what the call takes it for."""


class IdempotencyConflict(JobError):  # noqa: N818 - the name of the thing
    """The idempotency key came with another request before."""


class JobEndedError(JobError):
    """The job is at its end: nothing more can become of it."""


class JobActiveError(JobError):
    """The job is not at its end, so it cannot be removed yet."""


class ClipYielded(FarmError):  # noqa: N818 - it is an event, not a mistake
    """The clip was put down at a kept state because its worker is to stop; whoever takes it up goes on from there."""


class StorageError(FarmError):
    """A storage operation failed: what was done, where, why, and what the reader can do about it.

    All parameters are positional because pickling (Ray carries errors between processes) calls the class so.

    Args:
        action: a verb, as in "cannot create clips/ab/...".
        path: the file, or the storage's address.
        reason: what the system said.
        status: its errno or HTTP status.
        advice: what to do about it.
    """

    def __init__(self, action: str, path: str, reason: str = "", status: int | None = None, advice: str = "") -> None:
        super().__init__(action, path, reason, status, advice)
        self.action = action
        self.path = path
        self.reason = reason
        self.status = status
        self.advice = advice

    def __str__(self) -> str:
        status = f" [{self.status}]" if self.status is not None else ""
        why = "; ".join(text for text in (f"{self.reason}{status}".strip(), self.advice) if text)
        return f"cannot {self.action} {self.path}" + (f": {why}" if why else "")


class NotFoundError(StorageError):
    """Nothing stands under the path."""


class AlreadyExistsError(StorageError):
    """A create-only put found its path taken: someone else was first."""


class StorageUnavailableError(StorageError, TransientError):
    """The storage could not be reached, or was overloaded, for longer than the retries last."""


class Interrupted(FarmError):  # noqa: N818 - it is an event, not a mistake
    """The run was stopped and can be continued by the same command."""

    exit_code = 75


class LeaseLostError(Interrupted):
    """This driver no longer holds its run: it was away for too long and another took over."""
