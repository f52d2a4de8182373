"""What several commands begin with: settings, the output, the model, options as the planner takes them."""

from __future__ import annotations

from farm.errors import UsageError
from farm.settings import Settings
from farm.spec import RenderOptions
from farm.storage import Storage, open_storage
from jobs.calls import Asked


def open_output(uri: str, settings: Settings) -> Storage:
    """The storage at `--out`."""
    return open_storage(uri, options=settings.options_for("s3"))


def existing_output(uri: str, settings: Settings) -> Storage:
    """An output that has been rendered to; UsageError where there is none."""
    out = open_output(uri, settings)
    if not any(out.folders()):
        raise UsageError(f"nothing was ever rendered to {out.uri}")
    return out


def options_of(asked: Asked) -> RenderOptions:
    """The flags that decide pixels or bytes."""
    return RenderOptions(profile=asked.profile, codec=asked.codec, dtype=asked.dtype, seed=asked.seed)
