"""What several commands begin with: settings, the output, the model, options as the planner takes them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from farm.errors import UsageError
from farm.models import ModelRef, resolve_model
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


def chosen_model(name_or_path: str, settings: Settings) -> ModelRef:
    """The model of `--model`.

    Clips of another render backend must never bear a real clip's id: its name goes into the fingerprint.
    """
    model = resolve_model(name_or_path, settings)
    if settings.engine is None:
        return model
    digest = hashlib.sha256(f"{settings.engine}/{model.fingerprint}".encode()).hexdigest()
    return replace(model, fingerprint=digest)


def options_of(asked: Asked) -> RenderOptions:
    """The flags that decide pixels or bytes."""
    return RenderOptions(profile=asked.profile, codec=asked.codec, dtype=asked.dtype, seed=asked.seed)
