"""What Ray Data does not notice of its own workers: ones that are gone for good, that crash for ever, or stand still.

Ray's control store is asked, not the dashboard's API: a local cluster has no dashboard.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

POLL_S = 5.0
# Ray restarts crashed workers for ever. A clip that kills its worker takes three attempts until it is given up.
MAX_CRASHES = 5

# How Ray itself ends workers that have nothing left to do. Any other death of a worker that Ray does not restart leaves
# a hole in its pool that nothing fills (#62746).
_ORDERLY = ("RAY_KILL", "OUT_OF_SCOPE", "REF_DELETED")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """One actor of a stage. `death` is why it is gone for good, None where it is not."""

    actor_id: str
    num_restarts: int
    death: str | None = None


def trouble_with(workers: Iterable[WorkerState], *, restarts_before: int, max_restarts: int) -> str | None:
    """What is wrong with a pass's workers, None where nothing is.

    Args:
        restarts_before: how many there had been at the last clip that ended.
    """
    found = list(workers)
    for worker in found:
        if worker.death is not None and worker.death not in _ORDERLY:
            return f"a worker is gone for good ({worker.death}) and Ray does not replace it"
    crashes = sum(worker.num_restarts for worker in found) - restarts_before
    return f"workers crashed {crashes} times and no clip ended" if crashes > max_restarts else None


class Watchdog:
    """Looks after the workers of one pass until closed, on a thread of its own: a sick cluster may not answer.

    Args:
        look: the present workers of the pass; what it raises is no answer.
        num_workers: of the render stage.
        patience_s: how long no clip may end.
    """

    def __init__(
        self,
        look: Callable[[], list[WorkerState]],
        *,
        num_workers: int,
        patience_s: float,
        poll_s: float = POLL_S,
    ) -> None:
        self._look = look
        self._max_restarts = MAX_CRASHES * num_workers
        self._patience_s = patience_s
        self._poll_s = poll_s
        self._moved_s = time.monotonic()
        self._restarts, self._restarts_before = 0, 0
        self._trouble: str | None = None
        self._end = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def moved(self) -> None:
        """A clip ended."""
        self._moved_s, self._restarts_before = time.monotonic(), self._restarts

    @property
    def trouble(self) -> str | None:
        """Why to give the pass up, None where there is no reason."""
        silent_s = time.monotonic() - self._moved_s
        if silent_s > self._patience_s:
            return f"no clip ended for {silent_s:.0f} s"
        return self._trouble

    def close(self) -> None:
        self._end.set()

    def _watch(self) -> None:
        while self._trouble is None and not self._end.wait(self._poll_s):
            with suppress(Exception):  # whatever it is, it is not an answer; the session finds out about a dead cluster
                workers = self._look()
                self._restarts = sum(worker.num_restarts for worker in workers)
                before = min(self._restarts, self._restarts_before)
                self._trouble = trouble_with(workers, restarts_before=before, max_restarts=self._max_restarts)


class StageActors:
    """The actors that this job's stages started since this was made."""

    def __init__(self, stages: Iterable[type]) -> None:
        self._names = tuple(stage.__name__ for stage in stages)
        self._earlier = frozenset(self._rows())

    def states(self) -> list[WorkerState]:
        """All of them, also those that are gone."""
        return [
            WorkerState(actor_id=actor_id, num_restarts=int(row["NumRestarts"]), death=_death_of(row))
            for actor_id, row in self._rows().items()
            if actor_id not in self._earlier
        ]

    def kill(self) -> None:
        """End those that live, for good. Their dataset ends with an error."""
        import ray
        from ray._private.worker import global_worker

        for state in self.states():
            if state.death is None:
                with suppress(Exception):  # it is gone already
                    actor_id = ray.ActorID.from_hex(state.actor_id)
                    global_worker.core_worker.kill_actor(actor_id, True)

    def _rows(self) -> Mapping[str, Mapping[str, Any]]:
        import ray
        from ray._private.state import actors

        rows = actors(job_id=ray.JobID.from_hex(ray.get_runtime_context().get_job_id()))
        return {
            actor_id: row
            for actor_id, row in rows.items()
            if any(name in row["ActorClassName"] for name in self._names)
        }


def _death_of(row: Mapping[str, Any]) -> str | None:
    if row["State"] != "DEAD":
        return None
    cause = row["DeathCause"]
    kind = cause.WhichOneof("context")
    if kind != "actor_died_error_context":
        return str(kind or "UNSPECIFIED")
    context = cause.actor_died_error_context
    return str(type(context).Reason.Name(context.reason))
