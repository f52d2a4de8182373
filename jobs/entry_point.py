"""The `wanfarm render` that a cluster is to run for a call that was made elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

from jobs.calls import Asked, Execution

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
            flag = f"--{field.name.replace('_', '-')}"
            yield flag if value is True else f"{flag}={value}"


def stop_environment(execution: Execution) -> dict[str, str]:
    """Has Ray wait for a driver that was told to stop, until its clips are put down; by itself it waits 3 s."""
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(execution.grace + FAREWELL_S))}
