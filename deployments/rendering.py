"""A renderer's replica: leads a gang that it owns, and fetches its work from the dispatcher, clip after clip.

Serve sends it no requests: it starts it, ends it, and asks whether it is well. Weights are loaded before Serve hears
that it is ready. When it is to go it puts its clip down after the step in work, and whoever takes the clip up goes on
from there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from pathlib import Path

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.util.placement_group import get_current_placement_group

from deployments.clients import HandleQueue
from deployments.config import AppConfig
from deployments.encoding import RemoteText
from deployments.served import plan_of, served_model
from farm.logs import fields
from farm.metrics import Meter
from farm.queue.store import JobStore
from farm.settings import Settings
from farm.storage import open_storage
from farm.traces import end_spans
from farm.workers.encoder import PromptEncoder
from farm.workers.engine import WAN_BACKEND, ModelPlan, open_backend
from farm.workers.gang import Gang, Standing
from farm.workers.gang.hosts import HostedRanks
from farm.workers.notices import DrainNotice, is_draining
from farm.workers.observing import begin_observed, this_worker
from farm.workers.online import OnlineModel, OnlineRenderer
from farm.workers.ray_metrics import RayMeter
from farm.workers.renderer import Renderer
from farm.workers.stages import checkpoint_policy, gang_timing
from farm.workers.workbench import Workbench

# Of ranks on CPUs: whoever answers people goes first.
NICENESS = 10

_LOG = logging.getLogger(__name__)


class RendererReplica:
    """Serves one model. Its constructor raises where the gang does not start, and Serve tries again a few times."""

    def __init__(
        self, config: AppConfig, short_name: str, dispatcher: DeploymentHandle, text: DeploymentHandle
    ) -> None:
        settings, meter, worker = Settings.from_env(), RayMeter(), this_worker()
        begin_observed(settings, role="renderer", replica=serve.get_replica_context().replica_id.unique_id)
        out = open_storage(config.out, options=settings.options_for("s3"))
        model = served_model(config, short_name, settings)
        plan = plan_of(model, settings, threads=model.config.threads, device=model.config.torch_device)
        if model.config.device == "cpu":
            os.nice(NICENESS)
        backend = open_backend(settings.engine or WAN_BACKEND)
        bench = Workbench(session_folder() / "wanfarm", node=str(worker.node_id))
        gang = _gang(plan, settings, bench.folder, meter)
        self._stop = threading.Event()
        self._notice = DrainNotice(self._stop.is_set, lambda: is_draining(str(worker.node_id)))
        self._drain_s = model.config.drain_s
        self._renderer = OnlineRenderer(
            HandleQueue(dispatcher),
            JobStore(out, retention=config.retention.rules),
            OnlineModel(
                name=model.name,
                path=model.path,
                fingerprint=plan.fingerprint,
                dtype=plan.dtype,
                warnings_of=backend.warnings_of,
            ),
            PromptEncoder(
                lambda: RemoteText(text, should_stop=self._notice),
                out,
                clean=backend.clean_prompt,
                key=plan.embedding_key,
                meter=meter,
            ),
            lambda should_stop, listener: Renderer(
                lambda: gang,
                out,
                settings=settings,
                worker=worker,
                bench=bench,
                meter=meter,
                policy=checkpoint_policy(settings),
                should_stop=should_stop,
                listener=listener,
                preview_every_s=model.config.previews_every_s,
            ),
            name=serve.get_replica_context().replica_id.unique_id,
            meter=meter,
        )
        self._fault: Exception | None = None
        gang.start()
        self._thread = threading.Thread(target=self._run, name="render", daemon=True)
        self._thread.start()
        _LOG.info("renderer started", extra=fields(model=model.name, degree=plan.parallel.degree))

    def check_health(self) -> None:
        """Raise where another replica is needed: this one's gang is not to be mended, or its node is leaving."""
        if self._fault is not None:
            raise RuntimeError(f"rendering came to an end: {self._fault}") from self._fault
        if not self._thread.is_alive() and not self._stop.is_set():
            raise RuntimeError("its node is to go; its clip was put down")

    async def __del__(self) -> None:
        """Serve's word that this replica is to go: put the clip down, and give the gang's devices back."""
        await asyncio.to_thread(self._leave)

    def _leave(self) -> None:
        self._stop.set()
        _LOG.info("renderer drains")
        self._thread.join(self._drain_s)
        if self._thread.is_alive():
            _LOG.warning("clip was not put down in time", extra=fields(seconds=self._drain_s))
        else:
            self._renderer.close()
            _LOG.info("renderer ended")
        end_spans()

    def _run(self) -> None:
        try:
            self._renderer.run(self._notice)
        except Exception as error:  # the thread's boundary: Serve asks for it
            _LOG.exception("rendering came to an end")
            self._fault = error


def _gang(plan: ModelPlan, settings: Settings, folder: Path, meter: Meter) -> Gang:
    timing, ranks = gang_timing(settings), None
    standing = Standing(meter, model=plan.name, degree=plan.parallel.degree)
    if plan.parallel.num_hosts > 1:
        # In the bundles that Serve has reserved for this replica, and frees with it.
        ranks = HostedRanks(plan, place_s=timing.place_s, lent=get_current_placement_group())
    return Gang(
        plan,
        backend=settings.engine or WAN_BACKEND,
        folder=folder,
        timing=timing,
        on_break=standing.broke,
        on_state=standing.tell,
        ranks=ranks,
    )


def session_folder() -> Path:
    """Where Ray keeps what belongs to this cluster's life on this machine.

    Notes of clips in work, which a killed replica leaves for the next, must not outlive it: that a whole cluster was
    killed says nothing against a clip.
    """
    context = ray.get_runtime_context()
    return Path(str(context.get_temp_dir())) / str(context.get_session_name())
