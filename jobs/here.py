"""Clips made in this process, without Ray: for a debugger, and to check old clips."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from farm.errors import ModelError
from farm.metrics import NoMeter
from farm.provenance import Worker
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage import Storage
from farm.workers.encoder import PromptEncoder
from farm.workers.engine import WAN_BACKEND, Backend, ClipText, ModelPlan, RenderEngine, open_backend
from farm.workers.making import ClipJob
from farm.workers.renderer import Renderer
from farm.workers.workbench import Workbench
from jobs.fleet import this_machine
from jobs.opening import chosen_model


class Bench:
    """One model's engines in this process, loaded when first used.

    ModelError where the folder no longer holds the weights that the spec was made for.
    """

    def __init__(self, out: Storage, settings: Settings, *, spec: ClipSpec, model_path: str, threads: int) -> None:
        model = chosen_model(model_path, settings)
        if model.fingerprint != spec.model:
            raise ModelError(f"the weights in {model_path} are not those that this clip was asked of")
        device = "cuda" if this_machine().num_gpus else "cpu"
        self.model = ModelPlan(
            name=model.name,
            path=model.path,
            fingerprint=spec.model,
            dtype=spec.dtype,
            device=device,
            threads=threads,
        )
        self._out = out
        self._settings = settings
        self._backend: Backend = open_backend(settings.engine or WAN_BACKEND)
        self._engine: RenderEngine | None = None
        self._encoder = PromptEncoder(
            lambda: self._backend.open_text(self.model),
            out,
            clean=self._backend.clean_prompt,
            key=self.model.embedding_key,
            meter=NoMeter(),
        )

    @property
    def engine(self) -> RenderEngine:
        if self._engine is None:
            self._engine = self._backend.open_render(self.model)
        return self._engine

    def job(self, spec: ClipSpec, *, run_id: str, row: int | None = None, name: str | None = None) -> ClipJob:
        """The job of a spec, its prompts encoded (or found in the output)."""
        positive = self._encoder.encode(spec.prompt)
        negative = self._encoder.encode(spec.negative_prompt) if spec.is_guided else None
        return ClipJob(
            spec=spec,
            text=ClipText(positive=positive, negative=negative),
            run_id=run_id,
            model_name=self.model.name,
            model_path=self.model.path,
            row=row,
            id=name,
            warnings=self._backend.warnings_of(positive),
        )

    def with_renderer(self, use: Callable[[Renderer], int]) -> int:
        """What `use` returns, called with a renderer that commits to the output."""
        with tempfile.TemporaryDirectory(prefix="wanfarm-here-") as folder:
            renderer = Renderer(
                lambda: self.engine,
                self._out,
                settings=self._settings,
                worker=Worker(host=socket.gethostname(), pid=os.getpid()),
                bench=Workbench(Path(folder)),
                meter=NoMeter(),
            )
            return use(renderer)
