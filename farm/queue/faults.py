"""Why a job failed, as its client is told: what to do about it, and nothing of the machines that it failed on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from farm.ledger.failures import DeadLetter
from farm.queue.job import JobFault


class _Told(NamedTuple):
    code: str
    message: str
    advice: str


_BROKE = _Told(
    "render_failed",
    "the clip broke its renderer each time it was tried",
    "try another seed, size or length; tell the operator this job's id if it stays so",
)

# What an error's class says to whoever asked for the clip. An InputError speaks for itself.
_TOLD: Mapping[str, _Told] = MappingProxyType(
    {
        "NotFiniteError": _Told(
            "not_finite", "the model's numbers ran out of range", "try another seed, or less guidance"
        ),
        "MemoryExhaustedError": _Told(
            "out_of_memory", "the clip does not fit into the memory of a renderer", "ask for a smaller or shorter clip"
        ),
        "TextError": _Told("text_failed", "the text encoder fails at this prompt", "word the prompt differently"),
        "RankLostError": _BROKE,
        "LeaderLostError": _BROKE,
        "HangError": _Told("render_hangs", "the clip's renderer fell silent each time it was tried", _BROKE.advice),
    }
)
# Of a job that waited while its model was given other weights, or another precision.
MODEL_CHANGED = JobFault(
    code="model_changed",
    message="the model was changed while this waited for its turn",
    advice="try it again: it is made with the model as it is now",
)

_UNKNOWN = _Told("render_failed", "the clip could not be rendered", "try again; tell the operator this job's id")


def fault_of(letter: DeadLetter) -> JobFault:
    """The dead letter of a job's clip, for its client."""
    if letter.error_class == "InputError":
        return JobFault(code="invalid_input", message=letter.message, advice="change the request and send it again")
    told = _TOLD.get(letter.error_class, _UNKNOWN)
    return JobFault(code=told.code, message=told.message, advice=told.advice)
