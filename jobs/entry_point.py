"""The `wanfarm render` that a cluster is to run for a call that was made elsewhere."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from cyclopts import App

from jobs.calls import Asked, Execution

_Values = TypeVar("_Values")

# After its grace a driver ends its workers, writes results and takes leave of Ray.
FAREWELL_S = 60.0


def render_arguments(
    manifest: str, *, out: str, run_id: str, asked: Asked, execution: Execution, max_failed: str
) -> list[str]:
    """The command and all it needs to know, for a driver on a node of the cluster."""
    driver = replace(execution, address="auto")
    budget = [] if max_failed == "0" else [f"--max-failed={max_failed}"]
    flags = [*flags_of(asked), *flags_of(driver), *budget, f"--expect-run={run_id}"]
    return ["wanfarm", "render", manifest, f"--out={out}", *flags]


def flags_of(values: object) -> Iterator[str]:
    """The flags that make a command take these values: a flag for each that is not its default."""
    default = type(values)()
    for field in fields(values):  # type: ignore[arg-type]
        value = getattr(values, field.name)
        if is_dataclass(value):
            yield from flags_of(value)
        elif value != getattr(default, field.name):
            yield _flag(field.name) if value is True else f"{_flag(field.name)}={value}"


def execution_in(command: str) -> Execution:
    """How a `wanfarm render` is told to be carried out; all else that it says is passed over."""
    names, flags, tokens = set(_names(Execution())), [], iter(shlex.split(command))
    for token in tokens:
        name, _, value = token.partition("=")
        if name in names:
            flags.append(f"{name}={value or next(tokens, '')}")
    parser = App(result_action="return_value")

    @parser.default
    def take(*, execution: Execution = Execution()) -> Execution:  # noqa: B008 - frozen
        return execution

    found: Execution = parser(flags, exit_on_error=False, print_error=False)
    return found


def over(given: _Values, below: Any) -> _Values:
    """The given values, and where they are defaults those below."""
    default, changes = type(given)(), dict[str, Any]()
    for field in fields(below):
        mine, other = getattr(given, field.name), getattr(below, field.name)
        if is_dataclass(mine):
            changes[field.name] = over(mine, other)
        elif mine == getattr(default, field.name):
            changes[field.name] = other
    return replace(given, **changes)  # type: ignore[type-var]


def stop_environment(execution: Execution) -> dict[str, str]:
    """Has Ray wait for a driver that was told to stop, until its clips are put down; by itself it waits 3 s."""
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(execution.grace + FAREWELL_S))}


def _names(values: object) -> Iterator[str]:
    for field in fields(values):  # type: ignore[arg-type]
        value = getattr(values, field.name)
        yield from _names(value) if is_dataclass(value) else (_flag(field.name),)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
