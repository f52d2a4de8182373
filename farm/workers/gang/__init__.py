"""Gangs: ranks that render one clip together, and their leader, which holds no device and never loads torch.

Each rank is a process of its own, at degree 1 too, so that whatever becomes of it the leader lives on and can tell.

    gang        the leader's engine                           rank      a rank's process
    assignment  one clip in work                              serving   a rank's work
    crew        ranks that are up                             launch    ranks as processes of this host
    timing      how long a rank may be silent                 hosts     ranks on several hosts, through Ray
    messages    what leader and ranks say to each other       remote    channels between hosts
    channel     how it travels                                faults    errors of ranks, raised again at their leader
    standing    what a gang does, as gauges
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from farm.workers.gang.gang import Gang
    from farm.workers.gang.standing import Standing
    from farm.workers.gang.timing import GangTiming

__all__ = ["Gang", "GangTiming", "Standing"]

_HOMES = {
    "Gang": "farm.workers.gang.gang",
    "GangTiming": "farm.workers.gang.timing",
    "Standing": "farm.workers.gang.standing",
}


def __getattr__(name: str) -> Any:
    # A rank imports this package too, and must be up soon.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
