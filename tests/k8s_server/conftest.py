"""A kube-apiserver that knows Ray's kinds, for all tests; they are skipped where it is not built."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from services.endpoint import skip_or_fail
from services.kube import KubeServer, missing, old_enough, running_kube

from k8s.checks.crds import FILES
from k8s.checks.overlays import HERE
from k8s.checks.rendering import rendered


@pytest.fixture(scope="session")
def kube() -> Iterator[KubeServer]:
    """With the namespace, the rights and the classes of k8s/base."""
    absent = missing()
    if absent:
        skip_or_fail("kube", f"there is no {', '.join(absent)}: run tests/services/kube_apiserver.sh")
    definitions = os.environ.get("KUBERAY_CRDS")
    if not definitions:
        skip_or_fail("kube", "KUBERAY_CRDS names no folder with KubeRay's definitions")
    with running_kube() as server:
        for name in FILES:
            definition = yaml.load((Path(definitions) / name).read_text(), Loader=yaml.CSafeLoader)
            server.ask("create", "--validate=false", "--filename=-", stdin=json.dumps(old_enough(definition)))
        server.ask("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        around = [found for found in rendered(HERE / "overlays/dev/cluster") if found["kind"] != "RayCluster"]
        known = [found for found in around if found["apiVersion"] != "policy/v1"]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": known})
        server.ask("create", "--validate=false", "--filename=-", stdin=text)
        yield server
