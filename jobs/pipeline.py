"""Segments through Ray Data: rows -> text states (few CPU actors) -> outcomes (render actors).

Where each expert of a model has gangs of its own, there are two stages of render actors, one after the other.

The driver reads a segment itself and hands Ray Data blocks of about a minute of work. A read stage would do the same
with tasks that compete with the actor pools for CPUs: on two cores that deadlocks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from farm.errors import FarmError, TransientError
from farm.experts import NO_STEPS, pool_sizes, split_of
from farm.spec import ClipSpec
from farm.workers.engine import Experts
from farm.workers.outcomes import outcome_of
from farm.workers.renderer import Outcome
from farm.workers.stages import AdvanceStage, EncodeStage, RenderStage, StageSetup
from jobs.fleet import ENCODER_CPUS, POOL_LABEL, TEXT_POOL, Layout, Machine

BLOCK_S = 60.0
# With fewer blocks than this per worker, the last ones would leave workers idle.
BLOCKS_PER_WORKER = 4

# How long no clip may end before the pass is given up. Leaders time their own ranks; this is for what they cannot see.
MIN_PATIENCE_S = 3600.0
UNKNOWN_PATIENCE_S = 6 * 3600.0
PATIENCE_CLIPS = 3

_POOLS: tuple[Experts, Experts] = ("high", "low")

_ADDED_BY_RAY = "Failed to apply UDF transform"


class StageError(TransientError):
    """A stage ended in an error that was no clip's own; what is left of its segment remains to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Clips of one model that remain, as rows of `farm.segments.SCHEMA`."""

    rows: pa.Table

    @property
    def longest_s(self) -> float:
        """Estimated seconds of the longest clip, 0 where nothing is known."""
        return max((seconds or 0.0 for seconds in self.rows["seconds"].to_pylist()), default=0.0)


def patience_s(segment: Segment) -> float:
    """How long no clip of the segment may end before something is wrong: thrice its longest clip, an hour at least."""
    if None in segment.rows["seconds"].to_pylist():
        return UNKNOWN_PATIENCE_S
    return max(MIN_PATIENCE_S, PATIENCE_CLIPS * segment.longest_s)


def block_rows(segment: Segment, *, num_workers: int) -> int:
    """Clips of one task: a minute of work, but little enough that all workers have some to the end."""
    num_clips = int(segment.rows.num_rows)
    known = [seconds for seconds in segment.rows["seconds"].to_pylist() if seconds]
    clip_s = sum(known) / len(known) if known else BLOCK_S
    even = max(1, num_clips // (num_workers * BLOCKS_PER_WORKER))
    return max(1, min(int(BLOCK_S / clip_s), even))


def render_stages(
    segment: Segment, setup: StageSetup, *, layout: Layout
) -> list[tuple[type[AdvanceStage] | type[RenderStage], StageSetup, int]]:
    """Stages that render, with their gangs: one, or one for each expert. Those share the gangs as the steps fall."""
    model = setup.model
    if not layout.choice.has_pools or model.boundary is None:
        return [(RenderStage, setup, layout.num_workers)]
    specs = (ClipSpec.from_json(text) for text in segment.rows["spec"].to_pylist())
    sizes = pool_sizes(sum((split_of(spec, model.boundary) for spec in specs), NO_STEPS), layout.num_workers)
    high, low = (replace(setup, model=replace(model, experts=experts)) for experts in _POOLS)
    stages: list[tuple[type[AdvanceStage] | type[RenderStage], StageSetup, int]] = [(RenderStage, low, sizes.low)]
    return [(AdvanceStage, high, sizes.high), *stages] if sizes.high else stages


def outcomes(segment: Segment, setup: StageSetup, *, layout: Layout, machine: Machine) -> Iterator[Outcome]:
    """One outcome per clip, as they come. Blocks for as long as clips take: call it from a thread of its own.

    Raises:
        FarmError: what a stage raised, if it was one of ours.
        StageError: anything else.
    """
    _configure(DataContext.get_current(), patience_s=patience_s(segment))
    size = block_rows(segment, num_workers=layout.num_workers)
    blocks = [segment.rows.slice(first, size) for first in range(0, segment.rows.num_rows, size)]
    dataset = ray.data.from_arrow(blocks).map_batches(
        EncodeStage,
        fn_constructor_args=(setup,),
        batch_size=None,
        batch_format="pyarrow",
        # One encoder per node shares its mapped weights with nobody, and a fast pool would starve the renderers.
        compute=ActorPoolStrategy(size=machine.num_text_nodes or machine.num_nodes),
        num_cpus=ENCODER_CPUS,
        label_selector={POOL_LABEL: TEXT_POOL} if machine.num_text_nodes else None,
    )
    for stage, stage_setup, num_gangs in render_stages(segment, setup, layout=layout):
        dataset = dataset.map_batches(
            stage,
            fn_constructor_args=(stage_setup,),
            # Rows come one to a block (see below) and are bundled again: a task is what Ray retries.
            batch_size=size,
            batch_format="pyarrow",
            # A pool of fixed size needs no utilisation threshold to grow. Two tasks in flight: states of the next
            # block are there before this one ends, and with one the pool's scheduling gap shows.
            compute=ActorPoolStrategy(size=num_gangs, max_tasks_in_flight_per_actor=2),
            num_cpus=layout.cpus_per_worker,
            num_gpus=layout.gpus_per_worker or None,
        )
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from (outcome_of(row) for row in batch.to_pylist())
    except Exception as error:  # the boundary to Ray Data, whose errors wrap ours
        raise _unwrapped(error) from error


def _configure(context: Any, *, patience_s: float) -> None:
    """Settings of Ray Data, each on purpose; `tests/e2e` runs with them."""
    # A clip's own faults are outcomes. Whatever is raised is no clip's: stop, for more than 0 here would drop the rows
    # of its block in silence, and a dead worker's with them.
    context.max_errored_blocks = 0
    # Nothing is replayed in place: that repeats a whole task, and the renderer has tried again already.
    context.retried_map_errors = False
    context.max_map_retries = 0
    # Clips end when they end; keeping their order would hold finished ones back.
    context.execution_options.preserve_order = False
    # By default a stage that shows nothing for half an hour is ended, which a slow clip is.
    context.execution_no_progress_timeout_s = patience_s
    # Yields are collected up to this size before the driver sees them: one byte makes every clip its own block.
    context.target_max_block_size = 1
    # First starts that crash (a node short of memory for a moment) are tried again. Later ones Ray restarts for ever,
    # which the driver's watchdog counts.
    context.max_consecutive_actor_init_deaths = 3
    # Pools wait for their devices for as long as the cluster takes to bring them: the watchdog's patience bounds it.
    context.wait_for_min_actors_s = -1
    # Our display shows clips; Ray's shows blocks.
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)


def _unwrapped(error: Exception) -> Exception:
    """Our own error inside Ray's wrappings if there is one; else a StageError that names what there is."""
    # Ray's wrappers are instances of what they wrap, with a text of their own: the innermost is the one to show.
    found: FarmError | None = None
    seen: object = error
    while isinstance(seen, BaseException):
        found = seen if isinstance(seen, FarmError) else found
        seen = getattr(seen, "cause", None)
    if found is not None:
        # Ray Data appends a paragraph of its own to what a stage raised.
        own = [str(part).split(_ADDED_BY_RAY, 1)[0].strip() if isinstance(part, str) else part for part in found.args]
        found.args = tuple(own)
        return found
    lines = [line for line in str(error).splitlines() if line.strip()]
    return StageError(lines[-1].strip() if lines else type(error).__name__)
