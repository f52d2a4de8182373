"""The dispatcher's replica: `farm.queue.dispatch.Dispatcher` behind Serve, where it leads.

All of its methods answer in the loop: the dispatcher's own take microseconds, and what touches the storage is the
leadership's, on its thread. Where it does not lead, renderers get no work and nobody knows of any progress.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ray.serve.handle import DeploymentHandle

from deployments.autoscale import METRIC_PREFIX, gangs_wanted
from deployments.bell import Bell
from deployments.chores import chores_of
from deployments.config import AppConfig
from deployments.leading import Leadership
from deployments.served import lane_of, served_models
from farm.queue.backlog import Backlog, Progress
from farm.queue.client import Answer, Ending
from farm.queue.dispatch import CancelAnswer, Dispatcher, Policy
from farm.queue.job import Job
from farm.queue.store import JobStore
from farm.settings import Settings
from farm.storage import open_storage
from farm.workers.observing import begin_observed

# How long an idle renderer's question hangs here, so that a job is taken the moment it comes.
TAKE_S = 2.0
LONGEST_POLL_S = 60.0
# Of the leadership's thread, which waits for the storage: after more the replica is replaced.
STUCK_S = 300.0
STOP_S = 5.0


class DispatcherReplica:
    """There is one in a cluster. `texts` are the text encoders by short names of models, for prefetching."""

    def __init__(self, config: AppConfig, texts: dict[str, DeploymentHandle]) -> None:
        settings = Settings.from_env()
        begin_observed(settings, role="dispatcher")
        self._config = config
        self._storage = open_storage(config.out, options=settings.options_for("s3"))
        self._store = JobStore(self._storage, retention=config.retention.rules)
        self._models = served_models(config, settings)
        self._bell = Bell()
        self._leadership = Leadership(
            self._storage,
            self._make,
            lease_s=config.dispatcher.lease_s,
            look_every_s=config.dispatcher.look_every_s,
            chores=chores_of(config, self._store, self._models, texts),
        )
        self._leadership.start()

    async def submitted(self, jobs: Sequence[Job]) -> None:
        """Jobs have just been put into the storage."""
        if (leader := self._leader) is not None:
            for job in jobs:
                leader.submitted(job)

    async def cancel(self, job_id: str) -> CancelAnswer | None:
        """Their cancellation is wished in the storage."""
        return None if self._leader is None else self._leader.cancel(job_id)

    async def backlog(self) -> Backlog | None:
        return None if self._leader is None else self._leader.backlog()

    async def progresses(self, job_ids: Sequence[str]) -> dict[str, Progress]:
        return {} if self._leader is None else self._leader.progresses(job_ids)

    async def changes(self, job_id: str, since: int, timeout_s: float) -> Progress | None:
        """The job as soon as it is another than version `since`, or as it is after that time."""
        deadline_s = time.monotonic() + min(timeout_s, LONGEST_POLL_S)
        while (leader := self._leader) is not None:
            progress = leader.progress(job_id)
            left_s = deadline_s - time.monotonic()
            if progress is None or progress.version != since or left_s <= 0:
                return progress
            await self._bell.heard(job_id, timeout_s=left_s)
        return None

    async def take(self, renderer: str, model: str) -> Job | None:
        """See `farm.queue.client.QueueClient`; hangs for a moment where there is no job yet."""
        deadline_s = time.monotonic() + TAKE_S
        while (leader := self._leader) is not None:
            job = leader.take(renderer, model)
            left_s = deadline_s - time.monotonic()
            if job is not None or left_s <= 0:
                return job
            await self._bell.heard(None, timeout_s=left_s)
        await asyncio.sleep(max(0.0, deadline_s - time.monotonic()))
        return None

    async def stepped(
        self, renderer: str, job_id: str, done: int | None, total: int | None, preview: bytes | None
    ) -> Answer:
        if self._leader is None:
            return "go on"
        return self._leader.stepped(renderer, job_id, done=done, total=total, preview=preview)

    async def ended(self, renderer: str, job_id: str, ending: Ending) -> None:
        if self._leader is not None:
            self._leader.ended(renderer, job_id, ending)

    async def left(self, renderer: str) -> None:
        if self._leader is not None:
            self._leader.left(renderer)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve's controller is told once a second: gangs of each model, where this dispatcher leads."""
        if (leader := self._leader) is None:
            return {}
        backlog, wanted = leader.backlog(), dict[str, float]()
        for model in self._models:
            queue = backlog.models[model.name]
            wanted[f"{METRIC_PREFIX}{model.renderer}"] = gangs_wanted(
                backlog_s=queue.seconds,
                num_open=queue.num_queued + queue.num_running,
                num_busy=queue.num_busy,
                target_backlog_s=model.config.scaling.target_backlog_s,
                is_paused=backlog.pause is not None,
            )
        return wanted

    async def check_health(self) -> None:
        if self._leadership.silent_s > STUCK_S:
            raise RuntimeError(f"its thread was last heard of {self._leadership.silent_s:.0f} s ago")

    async def __del__(self) -> None:
        await asyncio.to_thread(self._leadership.stop, timeout_s=STOP_S)

    @property
    def _leader(self) -> Dispatcher | None:
        return self._leadership.leader

    def _make(self) -> Dispatcher:
        return Dispatcher(
            self._store,
            {model.name: lane_of(model, self._storage) for model in self._models},
            policy=Policy(weights=self._config.dispatcher.weights),
            on_change=self._bell.ring,
        )
