"""Every threshold and window of the alerts: edit, run `python -m monitoring`, commit both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Durations are Prometheus' ("15m").

    Args:
        window: what alerts on rates look back on; long: those on shares and quantiles.
        hold: for how long a condition has to stand; briefly: where waiting does harm.
        stall_floor_s: a run in which no clip ends is left in peace for so long, or for three of its slow clips.
        stall_blind_s: the same where nothing is known of how long its clips take.
        failed_share: of the clips that ended.
        lost_share: of all denoising steps.
        rebuilds: of gangs of a cluster in `window`.
        conflicts: clips that another worker had put first, in `window`.
        slow_ratio: a gang's step against the median of the gangs with the same shape.
        idle_share: devices at work, of those that could be, while there is work.
        wait_s: from submission to a renderer, for one job in twenty.
        backlog_s: of each renderer.
        budget: money of thirty days, in `currency`.
    """

    window: str = "15m"
    long: str = "1h"
    month: str = "30d"
    hold: str = "15m"
    briefly: str = "2m"
    stall_floor_s: float = 900
    stall_blind_s: float = 6 * 3600
    failed_share: float = 0.05
    lost_share: float = 0.1
    rebuilds: int = 3
    conflicts: int = 3
    slow_ratio: float = 1.5
    idle_share: float = 0.5
    wait_s: float = 600
    backlog_s: float = 3600
    budget: float = 1000
    currency: str = "USD"


TUNING = Tuning()
