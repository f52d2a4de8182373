"""Clips made by this process and its children, without Ray: for a debugger, and to check old clips."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.errors import ModelError
from farm.metrics import NoMeter
from farm.models import chosen_model
from farm.parallelism import ONE_RANK, ParallelPlan
from farm.provenance import Execution, Worker
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage import Storage
from farm.workers.encoder import PromptEncoder, text_of
from farm.workers.engine import WAN_BACKEND, CheckpointPolicy, ClipText, ModelPlan, RenderEngine, open_backend
from farm.workers.gang import Gang, GangTiming
from farm.workers.making import ClipJob
from farm.workers.renderer import Renderer
from farm.workers.workbench import Workbench
from jobs.fleet import Machine, this_machine


class Bench:
    """One model on this machine.

    ModelError where the folder no longer holds the weights that the spec was made for.

    Args:
        threads: of each rank.
        like: an execution to repeat, its degree and tiling as far as this machine has the devices; None is one rank.
        parallel: in place of that degree.
    """

    def __init__(
        self,
        out: Storage,
        settings: Settings,
        *,
        spec: ClipSpec,
        model_path: str,
        threads: int,
        like: Execution | None = None,
        parallel: ParallelPlan | None = None,
    ) -> None:
        model = chosen_model(model_path, settings)
        if model.fingerprint != spec.model:
            raise ModelError(f"the weights in {model_path} are not those that this clip was asked of")
        machine = this_machine()
        self.model = ModelPlan(
            name=model.name,
            path=model.path,
            fingerprint=spec.model,
            dtype=spec.dtype,
            device="cuda" if machine.num_gpus else "cpu",
            threads=threads,
            parallel=parallel or _parallel(like, machine),
            tiles=_tiles(like),
            exchange=settings.ulysses,
        )
        self._out = out
        self._settings = settings
        self._backend_name = settings.engine or WAN_BACKEND
        self._backend = open_backend(self._backend_name)
        self._encoder = PromptEncoder(
            lambda: self._backend.open_text(self.model),
            out,
            clean=self._backend.clean_prompt,
            key=self.model.embedding_key,
            meter=NoMeter(),
        )

    def open_engine(self) -> RenderEngine:
        """A gang of child processes, so that a clip that kills its rank does not kill the command. To be closed."""
        timing = GangTiming(floor_s=self._settings.hang_floor_s)
        return Gang(self.model, backend=self._backend_name, folder=Path(tempfile.gettempdir()), timing=timing)

    def job(self, spec: ClipSpec, *, run_id: str, row: int | None = None, name: str | None = None) -> ClipJob:
        """The job of a spec, its prompts encoded (or found in the output)."""
        text = text_of(self._encoder, spec)
        return ClipJob(
            spec=spec,
            text=text,
            run_id=run_id,
            model_name=self.model.name,
            model_path=self.model.path,
            row=row,
            id=name,
            warnings=self._backend.warnings_of(text.positive) if isinstance(text, ClipText) else (),
        )

    @contextmanager
    def renderer(self) -> Iterator[Renderer]:
        """A renderer that commits to the output."""
        settings = self._settings
        with tempfile.TemporaryDirectory(prefix="wanfarm-here-") as folder:
            renderer = Renderer(
                self.open_engine,
                self._out,
                settings=settings,
                worker=Worker(host=socket.gethostname(), pid=os.getpid()),
                bench=Workbench(Path(folder)),
                meter=NoMeter(),
                policy=CheckpointPolicy(every_steps=settings.checkpoint_steps, every_s=settings.checkpoint_s),
            )
            try:
                yield renderer
            finally:
                renderer.close()


def _parallel(like: Execution | None, machine: Machine) -> ParallelPlan:
    plan = ONE_RANK if like is None or like.parallel is None else ParallelPlan.parse(like.parallel)
    return plan if plan.degree <= (machine.num_gpus or machine.num_cpus) else ONE_RANK


def _tiles(like: Execution | None) -> int | None:
    return None if like is None or like.tiling is None else int(like.tiling.removeprefix("rows/"))
