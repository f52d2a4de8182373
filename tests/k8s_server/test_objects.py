"""A real API server takes every object, cuts nothing away, and lets submitters do what they are for and no more."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from services.kube import KubeServer

from k8s.checks.objects import name_of
from k8s.checks.overlays import HERE, OVERLAYS
from k8s.checks.rendering import rendered

# Newer than the server, or of operators that are not there.
UNKNOWN = ("policy/v1", "kueue.x-k8s.io/v1beta1", "scheduling.volcano.sh/v1beta1")
NAMES = [f"{found.parent.name}/{found.name}" for found in OVERLAYS]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_an_overlay_is_refused_or_cut_away(kube: KubeServer, name: str) -> None:
    objects = [found for found in rendered(HERE / "overlays" / name) if found["apiVersion"] not in UNKNOWN]
    # They are there already, by their names.
    fresh = copy.deepcopy(objects)
    for found in fresh:
        found["metadata"]["name"] += "-tried"
    stored = {name_of(found): found for found in kube.tried(fresh)}
    assert len(stored) == len(fresh)
    for sent in fresh:
        assert list(_lost(sent.get("spec", {}), stored[name_of(sent)].get("spec", {}))) == []


def _lost(sent: Any, stored: Any, path: str = "") -> Any:
    """Where something that was sent is not, or is otherwise, in what is stored."""
    if isinstance(sent, dict) and isinstance(stored, dict):
        for key, value in sent.items():
            if key not in stored:
                if value not in (None, {}, []):
                    yield f"{path}.{key}"
            else:
                yield from _lost(value, stored[key], f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(stored, list) and len(sent) == len(stored):
        for number, (mine, theirs) in enumerate(zip(sent, stored, strict=True)):
            yield from _lost(mine, theirs, f"{path}.{number}")
    elif sent != stored:
        yield f"{path}: {sent!r} is {stored!r}"


def test_what_would_be_cut_away_is_seen(kube: KubeServer) -> None:
    (job,) = [found for found in rendered(HERE / "overlays/dev/job") if found["kind"] == "RayJob"]
    job["spec"]["backofLimit"] = 3
    (stored,) = kube.tried([job])
    assert list(_lost(job["spec"], stored["spec"])) == [".backofLimit"]


def test_a_wrong_type_is_refused_by_the_server_too(kube: KubeServer) -> None:
    (job,) = [found for found in rendered(HERE / "overlays/dev/job") if found["kind"] == "RayJob"]
    job["spec"]["backoffLimit"] = "three"
    with pytest.raises(RuntimeError, match=r"spec\.backoffLimit"):
        kube.tried([job])


@pytest.mark.parametrize(
    ("user", "verb", "what", "is_allowed"),
    [
        ("submitter", "create", "rayjobs.ray.io", True),
        ("submitter", "list", "rayjobs.ray.io", True),
        ("submitter", "delete", "rayjobs.ray.io", True),
        ("submitter", "update", "rayjobs.ray.io", False),
        ("submitter", "create", "rayclusters.ray.io", False),
        ("submitter", "get", "secrets", False),
        ("submitter", "create", "pods", False),
        ("stranger", "list", "rayjobs.ray.io", False),
    ],
)
def test_submitters_may_do_what_they_are_for(
    kube: KubeServer, user: str, verb: str, what: str, is_allowed: bool
) -> None:
    done = kube.run("auth", "can-i", verb, what, "--namespace=wanfarm", user=user)
    assert done.stdout.strip() == ("yes" if is_allowed else "no")


def test_submitters_are_of_one_namespace(kube: KubeServer) -> None:
    done = kube.run("auth", "can-i", "create", "rayjobs.ray.io", "--namespace=default", user="submitter")
    assert done.stdout.strip() == "no"
