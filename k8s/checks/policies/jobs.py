"""RayJobs: what they run, when they try again, how they end and stop, and in whose queue they wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from farm.errors import UsageError
from farm.settings import PREFIX
from jobs.entry_point import FAREWELL_S
from k8s.checks.calls import render_job, render_jobs
from k8s.checks.faults import Fault
from k8s.checks.objects import Cluster, Pod, clusters, of_kind
from k8s.checks.policies.network import HEAD_PORTS
from k8s.checks.quantities import quantity
from k8s.checks.rendering import Objects

KUEUE_LABEL = "kueue.x-k8s.io/queue-name"
ELASTIC = "kueue.x-k8s.io/elastic-job"
VOLCANO_LABEL = "volcano.sh/queue-name"
MAX_WORKER_GROUPS = 17
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"


def entry_point(objects: Objects) -> Iterator[Fault]:
    """A call of `wanfarm render` that joins the cluster, takes failed rows for success, and can be watched."""
    for cluster in clusters(objects):
        if cluster.kind != "RayJob":
            continue
        try:
            job = render_job(cluster)
        except UsageError as error:
            yield Fault(where=cluster.where, rule="entry-point", what=str(error))
            continue
        if job.execution.address != "auto":
            what = "without --address auto it would start a Ray of its own on the head"
            yield Fault(where=cluster.where, rule="entry-point", what=what)
        if job.max_failed.percent != 100:
            what = "without --max-failed 100% one bad row fails the job, which buys new clusters"
            yield Fault(where=cluster.where, rule="entry-point", what=what)
        if job.execution.metrics_port != HEAD_PORTS["farm-run"]:
            what = f"without --metrics-port {HEAD_PORTS['farm-run']} the run's alerts see nothing"
            yield Fault(where=cluster.where, rule="entry-point", what=what)


def retries(objects: Objects) -> Iterator[Fault]:
    for cluster in clusters(objects):
        if cluster.kind == "RayJob" and not cluster.owner["spec"].get("backoffLimit"):
            what = "a driver that is interrupted (75) or lost is not tried again: set backoffLimit"
            yield Fault(where=cluster.where, rule="retries", what=what)


def ending(objects: Objects) -> Iterator[Fault]:
    """Either its cluster goes when it is done, or deletionRules say what goes: the operator refuses both."""
    for cluster in clusters(objects):
        if cluster.kind != "RayJob":
            continue
        spec = cluster.owner["spec"]
        has_rules = bool((spec.get("deletionStrategy") or {}).get("deletionRules"))
        goes = spec.get("shutdownAfterJobFinishes", False)
        if has_rules and (goes or spec.get("ttlSecondsAfterFinished")):
            what = "deletionRules exclude shutdownAfterJobFinishes and ttlSecondsAfterFinished: take one of them"
            yield Fault(where=cluster.where, rule="ending", what=what)
        if not has_rules and not goes and not spec.get("clusterSelector"):
            what = "its cluster would stay, and cost, for ever: set shutdownAfterJobFinishes"
            yield Fault(where=cluster.where, rule="ending", what=what)


def stopping(objects: Objects) -> Iterator[Fault]:
    """A driver that is told to go puts its clips down; Ray gives it three seconds, Kubernetes thirty."""
    for job in render_jobs(objects):
        needed_s = job.execution.grace + FAREWELL_S
        wait_s = float(job.environment.get(STOP_WAIT, 3))
        if wait_s < needed_s:
            what = f"{STOP_WAIT} is {wait_s:g} s, a driver with --grace {job.execution.grace:g} needs {needed_s:g}"
            yield Fault(where=job.cluster.where, rule="stopping", what=what)
        pod_s = float(job.cluster.head.spec.get("terminationGracePeriodSeconds", 30))
        if pod_s < needed_s:
            what = f"terminationGracePeriodSeconds is {pod_s:g}, the driver on it needs {needed_s:g} s"
            yield Fault(where=job.cluster.head.where, rule="stopping", what=what)


def settings(objects: Objects) -> Iterator[Fault]:
    """Gangs of a run go by its driver's settings: what they alone are told does nothing."""
    for cluster in clusters(objects):
        if cluster.kind != "RayJob":
            continue
        told = cluster.head.environment.items()
        for group in cluster.groups:
            for name, value in group.pod.environment.items():
                if name.startswith(PREFIX) and (name, value) not in told:
                    what = f"{name}={value} does nothing here: the driver's counts, set it on the head"
                    yield Fault(where=group.pod.where, rule="settings", what=what)


def queues(objects: Objects) -> Iterator[Fault]:
    """Kueue's webhook and Volcano's groups take clusters of one size, that end."""
    for cluster in clusters(objects):
        labels = cluster.owner["metadata"].get("labels") or {}
        if KUEUE_LABEL in labels:
            for what in _kueue_faults(cluster):
                yield Fault(where=cluster.where, rule="queues", what=what)
        if KUEUE_LABEL in labels or VOLCANO_LABEL in labels:
            for what in _size_faults(cluster):
                yield Fault(where=cluster.where, rule="queues", what=what)
            yield from _quota_faults(cluster, objects)


def _kueue_faults(cluster: Cluster) -> Iterator[str]:
    spec = cluster.owner["spec"]
    if cluster.kind == "RayJob" and not spec.get("shutdownAfterJobFinishes"):
        yield "Kueue takes only jobs with shutdownAfterJobFinishes"
    if spec.get("clusterSelector"):
        yield "Kueue takes no job with a clusterSelector"
    if spec.get("suspend") is not True:
        yield "Kueue starts it by spec.suspend: set it"
    if len(cluster.groups) > MAX_WORKER_GROUPS:
        yield f"Kueue takes at most {MAX_WORKER_GROUPS} worker groups"


def _size_faults(cluster: Cluster) -> Iterator[str]:
    is_elastic = (cluster.owner["metadata"].get("annotations") or {}).get(ELASTIC) == "true"
    if cluster.spec.get("enableInTreeAutoscaling") and not is_elastic:
        yield "a queue cannot hold what an autoscaler adds: set enableInTreeAutoscaling: false"
    for group in cluster.groups:
        sizes = {group.spec.get(key) for key in ("minReplicas", "replicas", "maxReplicas")}
        if len(sizes) > 1 and not is_elastic:
            yield f"group {group.name}: minReplicas, replicas and maxReplicas must be one number in a queue"


def _quota_faults(cluster: Cluster, objects: Objects) -> Iterator[Fault]:
    """Of the queues that are among the objects: a job that is larger than its quota waits for ever."""
    for queue in of_kind(objects, "ClusterQueue", "Queue"):
        quota = _quota(queue)
        for resource, most in quota.items():
            asked = sum(number * _asked(pod, resource) for pod, number in _pods(cluster))
            if asked > most:
                what = f"asks for {asked:g} of {resource}, the queue {queue['metadata']['name']} has {most:g}"
                yield Fault(where=cluster.where, rule="queues", what=what)


def _pods(cluster: Cluster) -> Iterator[tuple[Pod, int]]:
    yield cluster.head, 1
    for group in cluster.groups:
        yield group.pod, group.max_pods
    submitter = cluster.owner["spec"].get("submitterPodTemplate")
    if submitter:
        yield Pod(where=cluster.where, template=submitter, ray_labels={}), 1


def _asked(pod: Pod, resource: str) -> float:
    return sum(
        quantity((container.get("resources", {}).get("requests") or {}).get(resource, 0))
        for container in pod.containers
    )


def _quota(queue: Mapping[str, Any]) -> dict[str, float]:
    if queue["kind"] == "Queue":
        return {name: quantity(most) for name, most in (queue["spec"].get("capability") or {}).items()}
    return {
        entry["name"]: quantity(entry["nominalQuota"])
        for group in queue["spec"]["resourceGroups"]
        for flavor in group["flavors"]
        for entry in flavor["resources"]
    }
