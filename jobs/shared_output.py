"""Whether every node of a cluster sees the same output: a folder that is only the driver's own would lose clips."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from farm.errors import OutputError, StorageError
from farm.storage import Storage

PATIENCE_S = 60.0


def check_shared(out: Storage, run_id: str) -> None:
    """Put a nonce below OUT that every living node must read back.

    Raises:
        OutputError: some node cannot; they are named.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    path, nonce = f"runs/{run_id}/nonce", uuid.uuid4().hex.encode()
    out.replace(path, nonce)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    reader = ray.remote(num_cpus=0, max_retries=0)(_reads)
    answers = {
        reader.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
            out, path, nonce
        ): address
        for node_id, address in nodes.items()
    }
    # One deadline for all: a node that does not answer is as bad as one that does not see.
    ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=PATIENCE_S)
    blind = [address for answer, address in answers.items() if answer not in ready or not _saw(answer)]
    out.delete(path)
    if blind:
        raise OutputError(
            f"{out.uri} is not shared: {', '.join(sorted(blind))} cannot read what the driver wrote there"
        )


def _reads(out: Storage, path: str, nonce: bytes) -> bool:
    """On a node: whether what is read is what the driver wrote."""
    with suppress(StorageError):
        return out.read(path) == nonce
    return False


def _saw(answer: Any) -> bool:
    import ray

    try:
        return bool(ray.get(answer, timeout=1.0))
    except Exception:  # the boundary to Ray: the node went, or cannot load the farm
        return False
