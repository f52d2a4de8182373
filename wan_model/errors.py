"""Everything that `wan_model` raises on purpose. A caller decides by the class, never by the text.

WanModelError
├── RequestError (ValueError)     this model cannot make what was asked; names every fault of the request
├── CheckpointError               the weights cannot be used
│   ├── LayoutError               the path holds no layout we know, or not the component that was asked for
│   ├── KeyMismatchError          tensors missing, unexpected or of another shape; all of them named
│   └── CorruptFileError          a file is truncated or is not what its name says
└── NonFiniteError                the sampler left NaN or infinity in the latents
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_MOST_NAMED = 12


class WanModelError(Exception):
    """The root: catch it to catch all of `wan_model`'s own errors."""


class RequestError(WanModelError, ValueError):
    """This model cannot make what was asked. `faults` holds one sentence per fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class CheckpointError(WanModelError):
    """The weights cannot be used."""


class LayoutError(CheckpointError):
    """The path holds no layout we know, or not the component that was asked for."""


class KeyMismatchError(CheckpointError):
    """The checkpoint and the model disagree. `shapes` maps a key to (expected, found)."""

    def __init__(
        self,
        where: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] | None = None,
    ) -> None:
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.shapes = dict(shapes or {})
        wrong = [f"{key} {found} instead of {expected}" for key, (expected, found) in self.shapes.items()]
        parts = [_named("missing", self.missing), _named("unexpected", self.unexpected), _named("wrong shape", wrong)]
        super().__init__(f"{where} does not fit the model: " + "; ".join(part for part in parts if part))


class CorruptFileError(CheckpointError):
    """A file is truncated or is not what its name says."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class NonFiniteError(WanModelError):
    """The sampler left NaN or infinity in the latents."""


def _named(what: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    rest = f" and {len(items) - _MOST_NAMED} more" if len(items) > _MOST_NAMED else ""
    return f"{what} ({len(items)}): {', '.join(items[:_MOST_NAMED])}{rest}"
