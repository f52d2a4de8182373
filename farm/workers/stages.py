"""The adapter to Ray Data: callables over Arrow tables, around classes that never see Ray.

Constructors keep what they are given and do nothing else: one that raises when Ray restarts its actor ends the whole
job. All calls are generators that yield row by row, so that the driver hears of every clip when it is done.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from farm.errors import GangStartError
from farm.logs import fields
from farm.metrics import Meter
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage import Storage
from farm.traces import clip_span, end_spans, flush_spans, run_origin
from farm.workers.encoder import PromptEncoder, text_of
from farm.workers.engine import Backend, CheckpointPolicy, ClipText, ModelPlan, RenderEngine, open_backend
from farm.workers.gang import Gang, GangTiming, Standing
from farm.workers.making import ClipJob
from farm.workers.notices import DrainNotice, drain_notice
from farm.workers.observing import begin_observed, this_worker
from farm.workers.outcomes import outcome_in, outcome_table, spent_on, text_in, with_outcome, with_text
from farm.workers.ray_metrics import RayMeter
from farm.workers.renderer import Outcome, Renderer
from farm.workers.workbench import Workbench, bench_root

FIRST_STEP_FLOORS = 60

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSetup:
    """What each stage needs, small enough to travel with every actor.

    Args:
        backend: "module:Class", see `farm.workers.engine`.
        epoch: of the driver's lease; tells its workers from those of an earlier driver.
    """

    storage: Storage
    settings: Settings
    backend: str
    model: ModelPlan
    run_id: str
    epoch: int

    @property
    def drain_path(self) -> str:
        """Below OUT: while this file is there, workers of this driver begin no clip."""
        return drain_path(self.run_id, epoch=self.epoch)

    def observe(self, role: str) -> None:
        """Have this process tell what it does."""
        origin = run_origin(self.run_id, epoch=self.epoch)
        begin_observed(self.settings, role=role, origin=origin, run_id=self.run_id, model=self.model.name)


def drain_path(run_id: str, *, epoch: int) -> str:
    """See `StageSetup.drain_path`."""
    return f"{drain_folder(run_id)}/{epoch:08d}"


def drain_folder(run_id: str) -> str:
    """Where the drain files of a run's drivers lie below OUT."""
    return f"runs/{run_id}/drain"


class EncodeStage:
    """Rows of a segment in, the same rows with the states of their prompts out."""

    def __init__(self, setup: StageSetup) -> None:
        self._setup = setup

    @cached_property
    def _backend(self) -> Backend:
        return open_backend(self._setup.backend)

    @cached_property
    def _encoder(self) -> PromptEncoder:
        model = self._setup.model
        self._setup.observe("encoder")
        return PromptEncoder(
            lambda: self._backend.open_text(model),
            self._setup.storage,
            clean=self._backend.clean_prompt,
            key=model.embedding_key,
            meter=RayMeter(),
        )

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for number in range(rows.num_rows):
            row = rows.slice(number, 1)
            spec, encoder = ClipSpec.from_json(row["spec"][0].as_py()), self._encoder
            with clip_span("text", spec.clip_id, model=self._setup.model.name):
                text = text_of(encoder, spec)
            yield with_text(row, text)
        flush_spans()


class _Leader:
    """Leads a gang, and loads neither torch nor weights."""

    def __init__(self, setup: StageSetup) -> None:
        self._setup = setup

    @cached_property
    def _backend(self) -> Backend:
        return open_backend(self._setup.backend)

    @cached_property
    def _notice(self) -> DrainNotice:
        setup = self._setup
        return drain_notice(setup.storage, setup.drain_path, node_id=str(this_worker().node_id))

    @cached_property
    def _renderer(self) -> Renderer:
        setup, worker, meter = self._setup, this_worker(), RayMeter()
        setup.observe("leader")
        # Several nodes may share a machine, and one that is lost is not a clip's fault.
        root = bench_root(setup.storage.uri, setup.run_id, epoch=setup.epoch)
        bench = Workbench(root, node=str(worker.node_id))
        return Renderer(
            lambda: open_gang(setup, bench.folder, meter=meter),
            setup.storage,
            settings=setup.settings,
            worker=worker,
            bench=bench,
            meter=meter,
            policy=checkpoint_policy(setup.settings),
            should_stop=self._notice,
            handover=setup.model.handover,
        )

    def _outcomes(self, jobs: Iterable[ClipJob]) -> Iterator[Outcome]:
        try:
            for outcome in self._renderer.render_all(jobs):
                if outcome.status == "skipped" and self._notice.is_leaving:
                    _LOG.info("leader leaves a node that drains")
                    _leave()
                yield outcome
            flush_spans()
        except GangStartError as error:
            _LOG.error("gang does not start", extra=fields(error=str(error)))
            _leave()

    def _job(self, row: dict[str, Any]) -> ClipJob:
        text = text_in(row)
        return ClipJob(
            spec=ClipSpec.from_json(row["spec"]),
            text=text,
            run_id=self._setup.run_id,
            model_name=self._setup.model.name,
            model_path=self._setup.model.path,
            row=row["row"],
            id=row["id"],
            warnings=self._backend.warnings_of(text.positive) if isinstance(text, ClipText) else (),
            spent=spent_on(outcome_in(row)),
        )


class AdvanceStage(_Leader):
    """Rows with states in, the same rows out with what their clips came to, "advanced" to the boundary for most.

    Its gang holds the high-noise expert alone.
    """

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for number in range(rows.num_rows):
            row = rows.slice(number, 1)
            for outcome in self._outcomes([self._job(row.to_pylist()[0])]):  # one by one: the next gang waits
                yield with_outcome(row, outcome)


class RenderStage(_Leader):
    """Rows with states in, one outcome per clip out; the clip itself goes straight to the storage.

    Rows whose clips ended in an earlier stage pass through.
    """

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        jobs = list[ClipJob]()
        for row in rows.to_pylist():
            outcome = outcome_in(row)
            if outcome is None or outcome.status == "advanced":
                jobs.append(self._job(row))
            else:
                yield outcome_table(outcome)
        yield from map(outcome_table, self._outcomes(jobs))


def open_gang(setup: StageSetup, folder: Path, *, meter: Meter) -> RenderEngine:
    """The engine of every degree: ranks in processes of their own, led from here."""
    standing = Standing(meter, model=setup.model.name, degree=setup.model.parallel.degree)
    return Gang(
        setup.model,
        backend=setup.backend,
        folder=folder,
        timing=gang_timing(setup.settings),
        on_break=standing.broke,
        on_state=standing.tell,
    )


def gang_timing(settings: Settings) -> GangTiming:
    """How long ranks may be silent. The first step of a shape may compile: an hour, where the floor is a minute."""
    return GangTiming(floor_s=settings.hang_floor_s, first_s=FIRST_STEP_FLOORS * settings.hang_floor_s)


def checkpoint_policy(settings: Settings) -> CheckpointPolicy:
    """When states are kept, as the settings say."""
    return CheckpointPolicy(every_steps=settings.checkpoint_steps, every_s=settings.checkpoint_s)


def _leave() -> NoReturn:
    """End this process as a crash does: Ray starts its actor anew, on a node that stays, and repeats its block there.

    Raising would end the whole job where Ray restarts the actor, and an orderly exit is never made good.
    """
    end_spans()
    logging.shutdown()
    os._exit(1)
