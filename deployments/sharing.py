"""Online jobs first: while their gangs find no devices, batch runs of the same OUT are paused, and resumed afterwards.

A paused run's gangs put their clips down at the next step and give their devices back; its driver waits. It is the
same command that people give (`wanfarm pause`), and what a person has paused nobody here resumes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from deployments.autoscale import gangs_wanted
from deployments.config import SharingConfig
from deployments.served import ServedModel
from farm.control import Command, give_command, newest_command
from farm.ledger import RunLease
from farm.logs import fields
from farm.queue.backlog import Backlog
from farm.queue.dispatch import Dispatcher
from farm.storage import Storage

BY = "online jobs"

_LOG = logging.getLogger(__name__)


class RunsMakeRoom:
    """A chore of the leading dispatcher; see the module. What it has done lies in the runs' own history."""

    def __init__(
        self,
        storage: Storage,
        config: SharingConfig,
        models: Sequence[ServedModel],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._config = config
        self._models = models
        self._clock = clock
        self._lacking_s: float | None = None
        self._idle_s: float | None = clock()
        self._may_hold = True  # runs that an earlier leader has paused

    def __call__(self, leader: Dispatcher) -> None:
        backlog, now_s = leader.backlog(), self._clock()
        is_idle = all(not queue.num_queued and not queue.num_running for queue in backlog.models.values())
        self._lacking_s = _since(self._lacking_s, now_s, holds=self._is_lacking(backlog))
        self._idle_s = _since(self._idle_s, now_s, holds=is_idle)
        if self._lacking_s is not None and now_s - self._lacking_s >= self._config.patience_s:
            self._pause_runs()
        elif self._may_hold and self._idle_s is not None and now_s - self._idle_s >= self._config.resume_after_s:
            self._resume_runs()

    def _is_lacking(self, backlog: Backlog) -> bool:
        """Whether fewer gangs are there than are wanted."""
        if backlog.pause is not None:
            return False
        for model in self._models:
            queue, scaling = backlog.models[model.name], model.config.scaling
            wanted = gangs_wanted(
                backlog_s=queue.seconds,
                num_open=queue.num_queued + queue.num_running,
                num_busy=queue.num_busy,
                target_backlog_s=scaling.target_backlog_s,
                is_paused=False,
            )
            if queue.num_renderers < min(wanted, scaling.max_replicas):
                return True
        return False

    def _pause_runs(self) -> None:
        for run_id, command in self._driven_runs():
            if command is None or not command.is_stop:
                _LOG.info("run paused for online jobs that wait", extra=fields(run_id=run_id))
                give_command(self._storage, run_id, "pause", by=BY)
        self._may_hold = True

    def _resume_runs(self) -> None:
        for run_id in self._storage.folders("control"):
            command = newest_command(self._storage, run_id)
            if command is not None and command.action == "pause" and command.by == BY:
                _LOG.info("run goes on as no online job waits", extra=fields(run_id=run_id))
                give_command(self._storage, run_id, "resume", by=BY)
        self._may_hold = False

    def _driven_runs(self) -> Iterator[tuple[str, Command | None]]:
        """Runs that have a driver now, with the newest command that each was given."""
        for run_id in self._storage.folders("runs"):
            if RunLease(self._storage, run_id).held_by() is not None:
                yield run_id, newest_command(self._storage, run_id)


def _since(before: float | None, now_s: float, *, holds: bool) -> float | None:
    """Since when something holds without a break, None where it does not."""
    if not holds:
        return None
    return now_s if before is None else before
