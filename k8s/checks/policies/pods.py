"""Every pod: unprivileged, with nothing to write on but volumes, bounded, of a pinned image."""

from __future__ import annotations

from collections.abc import Iterator

from k8s.checks.faults import Fault
from k8s.checks.objects import GPU, Pod, clusters, pods
from k8s.checks.rendering import Objects

# Where Ray, Python and torch write.
SCRATCH = ("/tmp", "/home/farm")
_HOST_KEYS = ("hostNetwork", "hostPID", "hostIPC")


def unprivileged(objects: Objects) -> Iterator[Fault]:
    """What the "restricted" standard of Kubernetes asks, so that a namespace which enforces it takes the pods."""
    for pod in pods(objects):
        for what in _privileges(pod):
            yield Fault(where=pod.where, rule="unprivileged", what=what)


def _privileges(pod: Pod) -> Iterator[str]:
    own = pod.spec.get("securityContext") or {}
    yield from (f"{key} must not be set" for key in _HOST_KEYS if pod.spec.get(key))
    for volume in pod.spec.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a path of the host"
    for container in pod.containers:
        name, context = container["name"], {**own, **(container.get("securityContext") or {})}
        if context.get("privileged"):
            yield f"{name} is privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: set allowPrivilegeEscalation: false"
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
            yield f"{name} may run as root: set runAsNonRoot: true and a runAsUser"
        if (context.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: set seccompProfile: {{type: RuntimeDefault}}"
        capabilities = context.get("capabilities") or {}
        if "ALL" not in capabilities.get("drop", []) or capabilities.get("add"):
            yield f"{name} keeps capabilities: drop: [ALL] and add none"


def read_only_root(objects: Objects) -> Iterator[Fault]:
    """And yet something to write on for those that Ray runs in."""
    for pod in pods(objects):
        for container in pod.containers:
            if (container.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
                what = f"{container['name']}: set readOnlyRootFilesystem: true"
                yield Fault(where=pod.where, rule="read-only-root", what=what)
        empty = {volume["name"] for volume in pod.spec.get("volumes", []) if "emptyDir" in volume}
        mounts = {
            mount["mountPath"]
            for mount in pod.main.get("volumeMounts", [])
            if mount["name"] in empty and not mount.get("readOnly")
        }
        missing = [path for path in SCRATCH if path not in mounts] if pod.is_ray else []
        if missing:
            what = f"nothing to write on at {', '.join(missing)}: mount an emptyDir"
            yield Fault(where=pod.where, rule="read-only-root", what=what)


def service_links(objects: Objects) -> Iterator[Fault]:
    """None into Ray's pods: services whose names begin with wanfarm would be taken for settings, and refused."""
    for pod in pods(objects):
        if pod.is_ray and pod.spec.get("enableServiceLinks") is not False:
            yield Fault(where=pod.where, rule="service-links", what="set enableServiceLinks: false")


def bounded(objects: Objects) -> Iterator[Fault]:
    """Requests and limits; of memory and GPUs the same, since Ray deals out the limit."""
    for pod in pods(objects):
        for container in pod.containers:
            resources = container.get("resources") or {}
            requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
            for resource in ("cpu", "memory"):
                if resource not in requests or resource not in limits:
                    what = f"{container['name']} has no request or no limit of {resource}"
                    yield Fault(where=pod.where, rule="bounded", what=what)
            for resource in ("memory", GPU):
                if requests.get(resource, limits.get(resource)) != limits.get(resource):
                    what = (
                        f"{container['name']} asks for {requests[resource]} of {resource} and may have "
                        f"{limits.get(resource, 'none')}: Ray deals out the limit, so they must be equal"
                    )
                    yield Fault(where=pod.where, rule="bounded", what=what)


def pinned_images(objects: Objects) -> Iterator[Fault]:
    """A tag or digest; and of Ray's pods, one that tells the Ray in it, which is the cluster's."""
    for pod in pods(objects):
        for container in pod.containers:
            image = str(container.get("image", ""))
            tag = image.rpartition("/")[2].partition(":")[2]
            if not tag or tag == "latest":
                yield Fault(where=pod.where, rule="pinned-images", what=f"image {image!r} is not pinned to a version")
    for cluster in clusters(objects):
        version = cluster.spec.get("rayVersion")
        for pod in cluster.nodes:
            image = str(pod.main.get("image", ""))
            if f"ray{version}" not in image:
                what = f"image {image!r} does not say ray{version}, which is the cluster's rayVersion"
                yield Fault(where=pod.where, rule="pinned-images", what=what)
