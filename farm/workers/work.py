"""A clip in work, from its beginning to its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from farm.ledger import Turn
from farm.provenance import Execution, Stint
from farm.workers.keeping import StateKeeper
from farm.workers.ladder import Ladder
from farm.workers.making import ClipJob, Clock, MadeClip
from farm.workers.render_spans import tell_render
from farm.workers.workbench import Note

Status = Literal["committed", "existing", "lost", "failed", "skipped", "advanced"]
"""What became of a clip; "advanced": it waits at the boundary for a gang of the low-noise expert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a clip.

    Args:
        timings: seconds per stage, empty where nothing was rendered.
        lost_steps: denoising steps that faults made void, so that they are computed twice.
        num_resumes: how often the clip went on from a kept state; its timings then tell of a part of it.
        stint: of the gang, where the clip goes on to another one.
    """

    clip_id: str
    status: Status
    device: str = ""
    device_seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    error_class: str | None = None
    message: str | None = None
    lost_steps: int = 0
    num_resumes: int = 0
    stint: Stint | None = None


@dataclass(slots=True, kw_only=True)
class Work:
    """All that goes with a clip until it is settled.

    Args:
        note: on the bench; its steps are those of the try that came furthest.
        path: of the video in the making.
        lost_steps: see `Outcome`.
        resumed_at: steps done in the states that this turn went on from.
        discarded: why it could not go on from others.
        execution: of the tries before care was taken.
    """

    job: ClipJob
    turn: Turn
    ladder: Ladder
    note: Note
    keeper: StateKeeper
    path: Path
    clock: Clock = field(default_factory=Clock)
    lost_steps: int = 0
    resumed_at: tuple[int, ...] = ()
    discarded: tuple[str, ...] = ()
    execution: Execution | None = None

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """An exception leaves the clip to a later turn, with a note where steps were lost by it."""
        try:
            yield
        except BaseException as error:
            tell_render(self, "left", error_class=type(error).__name__)
            self.path.unlink(missing_ok=True)
            if self.note.steps > self.keeper.kept_step:
                self.note.put_down()
            else:
                self.note.remove()
            raise

    def end(
        self,
        status: Status,
        *,
        device: str = "",
        device_seconds: float = 0.0,
        error_class: str | None = None,
        message: str | None = None,
        stint: Stint | None = None,
    ) -> Outcome:
        """Clear the bench; what became of the clip."""
        tell_render(self, status, error_class=error_class)
        self.path.unlink(missing_ok=True)
        self.note.remove()
        return Outcome(
            clip_id=self.turn.clip_id,
            status=status,
            device=device,
            device_seconds=device_seconds,
            timings=self.clock.timings if device else {},
            error_class=error_class,
            message=message,
            lost_steps=self.lost_steps,
            stint=stint,
            num_resumes=len(self.resumed_at) + (self.job.spent.num_resumes if self.job.spent else 0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A clip that has only to be published."""

    work: Work
    clip: MadeClip
    execution: Execution
    device_seconds: float
