"""What the parts of an application are called in Serve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from farm.calibration import device_kind

APPLICATION = "wanfarm"
IMPORT_PATH = "deployments.app:build"
API = "api"
DISPATCHER = "dispatcher"


def short_names(models: Sequence[str]) -> list[str]:
    """A short name for each model (its name, or the last part of its folder), no two alike."""
    names = list[str]()
    for model in models:
        name = wanted = device_kind(PurePath(model).name)
        number = 2
        while name in names:
            name, number = f"{wanted}-{number}", number + 1
        names.append(name)
    return names


def renderer_name(short_name: str) -> str:
    """The deployment whose replicas render with a model."""
    return f"renderer-{short_name}"


def text_name(short_name: str) -> str:
    """The deployment that encodes prompts for it."""
    return f"text-{short_name}"


def deployment_names(models: Sequence[str]) -> list[str]:
    """All of an application."""
    short = short_names(models)
    return [API, DISPATCHER, *map(renderer_name, short), *map(text_name, short)]
