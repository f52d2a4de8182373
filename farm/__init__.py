"""The farm: manifests of clips are planned, encoded, rendered and committed. Pure Python outside `farm.workers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farm.spec import ClipSpec

__all__ = ["ClipSpec"]


def __getattr__(name: str) -> object:
    """Loads `ClipSpec` when asked for: pydantic takes a quarter of a second, which `wanfarm --help` need not pay."""
    if name != "ClipSpec":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from farm.spec import ClipSpec

    return ClipSpec
