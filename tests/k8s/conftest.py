"""Overlays, rendered once for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k8s.checks.overlays import HERE
from k8s.checks.rendering import rendered

Render = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def overlay() -> Render:
    """An overlay's objects by its name, "dev/job"; not to be changed."""
    known = dict[str, list[dict[str, Any]]]()

    def objects_of(name: str) -> list[dict[str, Any]]:
        if name not in known:
            known[name] = rendered(HERE / "overlays" / name)
        return known[name]

    return objects_of


@pytest.fixture(scope="session")
def definitions() -> Path:
    """KubeRay's own definitions (config/crd/bases of its operator), where KUBERAY_CRDS says that they are."""
    folder = os.environ.get("KUBERAY_CRDS")
    if not folder:
        pytest.skip("KUBERAY_CRDS names no folder with KubeRay's definitions")
    return Path(folder)
