"""How many gangs there are: a rule on backlog seconds, and the policy that brings its outcome to Serve.

The dispatcher's replica applies the rule once a second and tells Serve's controller of the outcome as a custom
autoscaling metric. The controller asks the policy some ten times a second, in its own event loop: it only reads what
the dispatcher said last, calls nobody and waits for nothing. Where nothing new was said for a while (no dispatcher
leads, or it is away) the number of gangs stays as it is. Delays and bounds are Serve's to apply.

Serve carries this module to its controller by value: it imports nothing of the farm.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

METRIC_PREFIX = "gangs:"
POLICY_PATH = "deployments.autoscale:BacklogPolicy"

# A dispatcher says how many gangs it wants every second. Older words do not count.
STALE_S = 15.0


def gangs_wanted(*, backlog_s: float, num_open: int, num_busy: int, target_backlog_s: float, is_paused: bool) -> int:
    """Gangs for one model.

    As many as have `target_backlog_s` each before them. One at least where there is any job. Not fewer than are at a
    clip: Serve takes away whichever replica it likes, and a clip that it hits must find an idle gang among the rest,
    which goes on from the state that was kept. A paused queue needs only those.

    Args:
        backlog_s: of one gang, for all jobs.
        num_open: jobs, queued or in work.
        num_busy: gangs at a clip.
    """
    if is_paused:
        return num_busy
    wanted = math.ceil(backlog_s / target_backlog_s) if num_open else 0
    return max(wanted, num_busy, 1 if num_open else 0)


class BacklogPolicy:
    """A policy of a whole application, of which the controller makes one.

    Args:
        stale_s: how long the dispatcher's word holds.
    """

    def __init__(self, stale_s: float = STALE_S) -> None:
        self._stale_s = stale_s
        self._said: dict[str, tuple[float, float]] = {}  # by deployment: when it was said, when that was first seen

    def __call__(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """A number of replicas for each deployment that scales, and no state of its own."""
        newest = _newest(contexts)
        decisions = {}
        for deployment, context in contexts.items():
            said = newest.get(deployment.name)
            is_known = said is not None and self._is_fresh(deployment.name, said[0])
            decisions[deployment] = int(said[1]) if is_known and said else context.target_num_replicas
        return decisions, {}

    def _is_fresh(self, name: str, said_at: float) -> bool:
        # Clocks of other nodes say nothing here: how long ago it came is what counts.
        before, seen_s = self._said.get(name, (None, 0.0))
        if before != said_at:
            seen_s = time.monotonic()
            self._said[name] = (said_at, seen_s)
        return time.monotonic() - seen_s <= self._stale_s


def _newest(contexts: Mapping[Any, Any]) -> dict[str, tuple[float, float]]:
    """By deployment, the time and value of what any replica of any deployment said last."""
    newest: dict[str, tuple[float, float]] = {}
    for context in contexts.values():
        for metric, by_replica in (context.raw_metrics or {}).items():
            if not metric.startswith(METRIC_PREFIX):
                continue
            name = metric.removeprefix(METRIC_PREFIX)
            points = [(point.timestamp, point.value) for series in by_replica.values() for point in series]
            newest[name] = max([*points, *([newest[name]] if name in newest else [])], default=(0.0, 0.0))
    return {name: said for name, said in newest.items() if said[0]}
