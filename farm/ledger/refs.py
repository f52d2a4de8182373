"""Who wants a clip kept: OUT/refs/<clip_id>/<holder>, one empty file each.

A job puts its ref when it is claimed, before it looks whether the clip is there, and takes it away when it ends without
a clip or is removed. A run holds all clips of its plan without refs (`farm.ledger.holding`).
"""

from __future__ import annotations

from farm.layout import REFS, ref_path
from farm.storage.base import Storage


def put_ref(storage: Storage, clip_id: str, holder: str) -> None:
    """Hold a clip. Once this is done, and `is_standing` says so after it, the clip stays until the ref goes."""
    storage.create(ref_path(clip_id, holder), b"")


def drop_ref(storage: Storage, clip_id: str, holder: str) -> None:
    """Let a clip go; see `delete_clip_if_unheld` for its files."""
    storage.delete(ref_path(clip_id, holder))


def holders_of(storage: Storage, clip_id: str) -> set[str]:
    """Who holds a clip by a ref, by one listing."""
    return {path.rsplit("/", 1)[-1] for path in storage.names(f"{REFS}/{clip_id}")}
