"""Where a clip goes on: the newest of its kept states that fits."""

from __future__ import annotations

from dataclasses import dataclass

from farm.ledger import Turn
from farm.provenance import Execution
from farm.sampler_state import StateHeader, high_noise_of, misfit, read_header
from farm.spec import ClipSpec
from farm.workers.engine import SamplerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a clip begins.

    Args:
        state: None is noise.
        high_noise: see `farm.provenance.Execution`.
        discarded: why newer states could not be used.
    """

    state: SamplerState | None = None
    high_noise: str | None = None
    discarded: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """Steps that are done."""
        return 0 if self.state is None else self.state.step


def start_of(turn: Turn, spec: ClipSpec, execution: Execution, *, handover_step: int) -> Start:
    """The newest state that fits; those that do not are removed.

    With a handover step, a state of just that step fits whatever execution it is of.
    """
    discarded: tuple[str, ...] = ()
    for kept, data in turn.states():
        header = _fitting(data, spec, execution, handover_step=handover_step or None)
        if isinstance(header, StateHeader):
            state, high_noise = SamplerState(step=kept.step, data=data), high_noise_of(header, execution)
            return Start(state=state, high_noise=high_noise, discarded=discarded)
        turn.discard(kept)
        discarded += (f"the state after step {kept.step} could not be gone on from: {header}",)
    return Start(discarded=discarded)


def _fitting(data: bytes, spec: ClipSpec, execution: Execution, *, handover_step: int | None) -> StateHeader | str:
    """The header of a state to go on from; else why it cannot be."""
    try:
        header = read_header(data)
    except ValueError as error:
        return str(error)
    return misfit(header, spec, execution, handover_step=handover_step) or header
