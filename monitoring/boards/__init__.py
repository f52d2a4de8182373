"""The dashboards, in the order in which a person on call looks at them."""

from __future__ import annotations

from monitoring.boards import cost, gangs, latency, queue, throughput
from monitoring.panels import Dashboard

BOARDS: tuple[Dashboard, ...] = (throughput.BOARD, latency.BOARD, gangs.BOARD, queue.BOARD, cost.BOARD)
