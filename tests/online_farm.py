"""A whole online farm in this process: API under uvicorn, dispatcher, renderers. No Ray, no Serve.

with OnlineFarm.start(folder) as farm:
    farm.client().post("/v1/videos", json={"prompt": ...})
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt
import uvicorn
from meters import Remembered

from deployments.api.app import make_app
from deployments.api.settings import ApiSettings
from deployments.config import ModelConfig
from deployments.inputs.addresses import Resolver, resolve_name
from deployments.inputs.fetch import Fetcher
from deployments.inputs.pictures import Pictures
from deployments.inputs.settings import InputSettings
from deployments.offers import Offer
from deployments.opening import offer_of
from deployments.service import VideoService
from farm.errors import JobEndedError, NotFoundError
from farm.files import Files
from farm.keys import KeyStore, Scope
from farm.ledger import Artifacts, commit_clip
from farm.media import Thumbnailer, VideoWriter
from farm.metrics import NoMeter
from farm.provenance import Execution, Record, Worker, build_record
from farm.queue.backlog import Backlog, Progress
from farm.queue.claim import JobLease
from farm.queue.dispatch import CancelAnswer, Dispatcher, ModelLane
from farm.queue.job import Job, JobFault
from farm.queue.store import JobStore
from farm.settings import Settings
from farm.storage import Storage, open_storage
from farm.workers.encoder import PromptEncoder
from farm.workers.engine import WAN_BACKEND, ModelPlan, open_backend
from farm.workers.listening import Listener
from farm.workers.online import OnlineModel, OnlineRenderer
from farm.workers.renderer import Renderer
from farm.workers.workbench import Workbench

LOOK_S = 0.2


class LocalDispatch:
    """A `DispatchPort` around a dispatcher in this process; `is_away` plays a dead one."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.is_away = False

    def submitted(self, job: Job) -> None:
        if not self.is_away:
            self.dispatcher.submitted(job)

    async def cancel(self, job_id: str) -> CancelAnswer | None:
        return None if self.is_away else self.dispatcher.cancel(job_id)

    async def backlog(self) -> Backlog | None:
        return None if self.is_away else self.dispatcher.backlog()

    async def progress(self, job_id: str) -> Progress | None:
        return None if self.is_away else self.dispatcher.progress(job_id)

    async def progresses(self, job_ids: Sequence[str]) -> Mapping[str, Progress]:
        return {} if self.is_away else self.dispatcher.progresses(job_ids)

    async def changes(self, job_id: str, since: int, timeout_s: float) -> Progress | None:
        until_s = time.monotonic() + timeout_s
        while True:
            progress = await self.progress(job_id)
            if progress is None or progress.version != since or time.monotonic() > until_s:
                return progress
            await asyncio.sleep(0.02)


@dataclass
class OnlineFarm:
    """What runs. `base_url` is the server's, without a slash at its end."""

    out: Storage
    store: JobStore
    keys: KeyStore
    dispatcher: Dispatcher
    dispatch: LocalDispatch
    service: VideoService
    settings: Settings
    base_url: str
    meter: Remembered
    secrets: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def start(
        cls,
        out_uri: str | Path,
        *,
        settings: Settings | None = None,
        api: ApiSettings | None = None,
        inputs: InputSettings | None = None,
        models: Sequence[ModelConfig] = (ModelConfig(model="nano"),),
        resolve: Resolver = resolve_name,
        look_every_s: float = LOOK_S,
    ) -> Iterator[OnlineFarm]:
        """A server on a free port. Without `api` settings nobody needs a key."""
        settings, inputs = settings or Settings.from_env(), inputs or InputSettings()
        out = open_storage(str(out_uri), options=settings.options_for("s3"))
        store = JobStore(out)
        offers = [offer_of(model, out, settings) for model in models]
        lanes = {offer.name: ModelLane() for offer in offers}
        dispatcher = Dispatcher(store, lanes)
        dispatcher.rebuild()
        dispatch, meter = LocalDispatch(dispatcher), Remembered()
        service = VideoService(
            store=store,
            dispatch=dispatch,
            offers={offer.name: offer for offer in offers},
            pictures=Pictures(inputs, Fetcher(inputs, Files(settings), resolve=resolve)),
            settings=api or ApiSettings(is_open=True),
            meter=meter,
        )
        with ExitStack() as stack:
            stack.enter_context(_every(look_every_s, dispatcher.look))
            base_url = stack.enter_context(served(service))
            yield cls(
                out=out,
                store=store,
                keys=KeyStore(out),
                dispatcher=dispatcher,
                dispatch=dispatch,
                service=service,
                settings=settings,
                base_url=base_url,
                meter=meter,
            )

    def finish(self, job_id: str, *, frames: npt.NDArray[np.uint8] | None = None) -> Record:
        """Do a renderer's work by hand: commit a clip for the job (these frames, else a red one) and end it."""
        lease = self.store.claim(job_id, worker="by hand")
        assert lease is not None
        return self._finish(lease, frames)

    def _finish(self, lease: JobLease, frames: npt.NDArray[np.uint8] | None) -> Record:
        try:
            record = _committed(self.out, lease.job, frames)
            self.store.finish(lease.job.id, "completed", by="by hand", lease=lease, device_seconds=2.0, attempts=1)
        finally:
            lease.release()
        return record

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Whatever is asked for is finished soon after, by hand."""

        def finish_all() -> None:
            for job_id in self.store.open_ids():
                with suppress(NotFoundError, JobEndedError):  # it has ended, or is gone, since it was listed
                    lease = self.store.claim(job_id, worker="by hand")
                    if lease is not None:
                        self._finish(lease, None)

        with _every(0.02, finish_all):
            yield

    def fail(self, job_id: str, fault: JobFault) -> None:
        """End a job as failed."""
        lease = self.store.claim(job_id, worker="by hand")
        assert lease is not None
        self.store.finish(job_id, "failed", by="by hand", lease=lease, error=fault, attempts=3)
        lease.release()

    def files(self) -> set[str]:
        """All that lies under OUT."""
        return set(self.out.names())

    @contextmanager
    def rendering(self, *, num_renderers: int = 1, preview_every_s: float | None = None) -> Iterator[None]:
        """Renderers at work on threads of this process: fake ones where the settings' engine is that.

        At the end they put down what they are at.
        """
        with ExitStack() as stack:
            for number in range(num_renderers):
                for offer in self.service.offers.values():
                    name = f"renderer {offer.name} {number}"
                    stack.enter_context(self._renderer(offer, name=name, preview_every_s=preview_every_s))
            yield

    @contextmanager
    def _renderer(self, offer: Offer, *, name: str, preview_every_s: float | None) -> Iterator[None]:
        backend = open_backend(self.settings.engine or WAN_BACKEND)
        plan = ModelPlan(
            name=offer.name,
            path=offer.ref.path,
            fingerprint=offer.ref.fingerprint,
            dtype=offer.card.dtype,
            device="cpu",
            threads=1,
        )
        text = PromptEncoder(
            lambda: backend.open_text(plan),
            self.out,
            clean=backend.clean_prompt,
            key=plan.embedding_key,
            meter=NoMeter(),
        )
        with tempfile.TemporaryDirectory(prefix="wanfarm-online-") as folder:

            def opened(should_stop: Callable[[], bool], listener: Listener) -> Renderer:
                return Renderer(
                    lambda: backend.open_render(plan),
                    self.out,
                    settings=self.settings,
                    worker=Worker(host="here", pid=os.getpid()),
                    bench=Workbench(Path(folder)),
                    meter=NoMeter(),
                    should_stop=should_stop,
                    listener=listener,
                    preview_every_s=preview_every_s,
                )

            model = OnlineModel(
                name=offer.name,
                path=offer.ref.path,
                fingerprint=plan.fingerprint,
                dtype=plan.dtype,
                warnings_of=backend.warnings_of,
            )
            renderer = OnlineRenderer(self.dispatcher, self.store, model, text, opened, name=name, meter=self.meter)
            stop = threading.Event()
            thread = threading.Thread(target=renderer.run, args=(stop.is_set,), name=name, daemon=True)
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join(60.0)
                renderer.close()

    def key(self, name: str = "default", *, scopes: Sequence[Scope] = ("submit", "read"), **values: Any) -> str:
        """The text of a key for the project of that name; the same for the same arguments."""
        known = f"{name} {scopes} {values}"
        if known not in self.secrets:
            limits = {key: values.pop(key) for key in list(values)}
            _, self.secrets[known] = self.keys.create(name=name, project=name, scopes=scopes, limits=limits)
        return self.secrets[known]

    def client(self, key: str | None = None, **options: Any) -> httpx2.Client:
        """An HTTP client of the server, with a key's text."""
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        return httpx2.Client(base_url=self.base_url, headers=headers, timeout=30.0, **options)


def _committed(out: Storage, job: Job, frames: npt.NDArray[np.uint8] | None) -> Record:
    spec = job.spec
    if frames is None:
        frames = np.zeros((spec.num_frames, spec.height, spec.width, 3), np.uint8)
        frames[..., 0] = 200
    thumbnailer = Thumbnailer(spec.num_frames)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder, "clip.mp4")
        with VideoWriter(
            local, width=spec.width, height=spec.height, fps=spec.fps, codec=spec.codec, metadata={}
        ) as writer:
            writer.write(frames)
            thumbnailer.look(frames)
            encoded = writer.close()
        record = build_record(
            spec,
            model_name=job.model,
            sha256=encoded.sha256,
            size_bytes=encoded.size_bytes,
            execution=Execution(device="cpu", threads=1, attention="sdpa", libraries={}, encoder={}),
            worker=Worker(host="here", pid=1),
            committed_at="2026-01-01T00:00:00Z",
            timings={"denoise": 1.5},
            device_seconds=2.0,
            attempts=1,
        )
        artifacts = Artifacts(video=local, thumbnail=thumbnailer.poster(), strip=thumbnailer.strip())
        return commit_clip(out, record, artifacts=artifacts).record


@contextmanager
def served(service: VideoService) -> Iterator[str]:
    """The service's app under uvicorn on a free port of this machine; its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(make_app(service), log_level="warning", lifespan="on", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api", daemon=True)
    thread.start()
    try:
        until_s = time.monotonic() + 30.0
        while not server.started:
            if time.monotonic() > until_s or not thread.is_alive():
                raise RuntimeError("the API did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10.0)


def eventually(is_so: Callable[[], bool], *, timeout_s: float) -> None:
    """Wait until it is so. AssertionError where it does not become so in that time."""
    until_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until_s, f"not so within {timeout_s} s"
        time.sleep(0.02)


@contextmanager
def _every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            do()

    thread = threading.Thread(target=run, name="look", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10.0)
