"""Whether this worker is to put its clip down: its driver said so, or Ray drains its node.

Ray marks a node as draining when its machine is about to go: the cluster's autoscaler or a spot notice says so, and
`ray start --block` does on SIGTERM, which is what Kubernetes sends to a pod (RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S is
how long Ray then waits).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from farm.storage.base import Storage

POLL_S = 1.0


class DrainNotice:
    """Looks once a second on a thread of its own, so that asking it costs nothing, however slow the answers are."""

    def __init__(self, has_word: Callable[[], bool], is_node_leaving: Callable[[], bool]) -> None:
        self._has_word = has_word
        self._is_node_leaving = is_node_leaving
        self._is_told = False
        self.is_leaving = False
        self._look()
        threading.Thread(target=self._watch, name="drain-notice", daemon=True).start()

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._is_told or self.is_leaving

    def _watch(self) -> None:
        pause = threading.Event()
        while not self.is_leaving:
            pause.wait(POLL_S)
            self._look()

    def _look(self) -> None:
        with suppress(Exception):  # whatever it is, it is not an answer: what was last heard holds
            self._is_told = self._has_word()
        with suppress(Exception):
            self.is_leaving = self._is_node_leaving()


def drain_notice(storage: Storage, path: str, *, node_id: str) -> DrainNotice:
    """For a worker of the driver that puts its word at `path`, on that node."""
    return DrainNotice(lambda: storage.exists(path), lambda: is_draining(node_id))


def is_draining(node_id: str) -> bool:
    """Whether Ray drains that node (its hex id)."""
    return node_id in _draining_nodes()


def _draining_nodes() -> dict[str, Any]:
    """Hex ids of nodes that Ray drains."""
    from ray._private.state import state

    nodes: dict[str, Any] = state.get_draining_nodes()
    return nodes
