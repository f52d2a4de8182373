"""A double whose renders break at the steps that a script names; otherwise the fake engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.parallelism import ONE_RANK, ParallelPlan
from farm.provenance import Execution
from farm.spec import ClipSpec
from farm.workers.engine import Frames, ModelPlan, Order, SamplerState, Watch
from farm.workers.fake import FakeRenderEngine

# What happens in a step, before it is done, or (under "decode") when decoding begins.
Script = Mapping[Any, Exception | Callable[[], Any]]


def plan_of(*, threads: int = 1, parallel: ParallelPlan = ONE_RANK) -> ModelPlan:
    return ModelPlan(
        name="fake",
        path="/fake",
        fingerprint="f" * 64,
        dtype="float32",
        device="cpu",
        threads=threads,
        parallel=parallel,
    )


class ScriptedEngine:
    """Follows one script a render, and none after the last. `orders` are those it got, `num_rebuilds` counts."""

    def __init__(self, *scripts: Script, plan: ModelPlan | None = None, on_rebuild: Exception | None = None) -> None:
        self.orders: list[Order] = []
        self.num_rebuilds = 0
        self.is_closed = False
        self._scripts = list(scripts)
        self._on_rebuild = on_rebuild
        self._fake = FakeRenderEngine(plan or plan_of())

    @property
    def begun_at(self) -> list[int]:
        """Steps that were done when each order came."""
        return [0 if order.state is None else order.state.step for order in self.orders]

    def execution(self, spec: ClipSpec, *, is_tame: bool = False) -> Execution:
        return self._fake.execution(spec, is_tame=is_tame)

    def render(self, order: Order, watch: Watch) -> Iterator[Frames]:
        script = self._scripts[len(self.orders)] if len(self.orders) < len(self._scripts) else {}
        self.orders.append(order)
        chunks = self._fake.render(order, _Tripwire(watch=watch, script=script))
        for number, frames in enumerate(chunks):
            if number == 0:
                _happen(script.get("decode"))
            yield frames

    def rebuild(self) -> None:
        self.num_rebuilds += 1
        if self._on_rebuild is not None:
            raise self._on_rebuild

    def close(self) -> None:
        self.is_closed = True


@dataclass(frozen=True, kw_only=True)
class _Tripwire:
    watch: Watch
    script: Script = field(default_factory=dict)

    def stepped(self, done: int, total: int) -> None:
        _happen(self.script.get(done))
        self.watch.stepped(done, total)

    def keep(self, state: SamplerState) -> None:
        self.watch.keep(state)

    def preview(self, step: int, image: bytes) -> None:
        self.watch.preview(step, image)

    def should_yield(self) -> bool:
        return self.watch.should_yield()


def _happen(what: Exception | Callable[[], Any] | None) -> None:
    if isinstance(what, Exception):
        raise what
    if what is not None:
        what()
