"""Overlays with one thing broken: each is refused, by the rule that is for it and for no other reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from kube_changes import GONE, changed, replacing

from k8s.checks.checking import faults_of
from k8s.checks.policies import POLICIES

JOB, SERVICE, CLUSTER = "multi-gpu/job", "multi-gpu/service", "multi-gpu/cluster"
HEAD = "RayCluster.spec.headGroupSpec"
GANGS = "RayCluster.spec.workerGroupSpecs.gangs"
JOB_GANGS = "RayJob.spec.rayClusterSpec.workerGroupSpecs.gangs"
SERVE = "RayService.spec.serveConfigV2"
SERVE_GANGS = "RayService.spec.rayClusterConfig.workerGroupSpecs.gangs"
WORKER, HEADS = "template.spec.containers.ray-worker", "template.spec.containers.ray-head"
RULES = {"deletionRules": [{"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED"}}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """What is changed of which overlay, and the words and the rule that it must be refused with."""

    name: str
    changes: dict[str, Any]
    rule: str
    because: str
    overlay: str = CLUSTER
    before: dict[str, Any] = field(default_factory=dict)
    # Rules that the same change breaks too.
    besides: tuple[str, ...] = ()


def _gpus(number: str) -> dict[str, str]:
    return {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": number}


SCHEMAS = (
    Broken(
        name="a number where a word is due",
        changes={f"{GANGS}.groupName": 7},
        rule="kuberay",
        because="workerGroupSpecs.1.groupName: 7 is not of type 'string'",
    ),
    Broken(
        name="a word where a number is due",
        changes={f"{GANGS}.maxReplicas": "four"},
        rule="kuberay",
        because="maxReplicas: 'four' is not of type 'integer'",
    ),
    Broken(
        name="a field that Ray does not know",
        changes={f"{GANGS}.minReplica": 1},
        rule="kuberay",
        because="'minReplica' was unexpected",
    ),
    Broken(
        name="a field that pods do not know",
        changes={f"{GANGS}.{WORKER}.readonly": True},
        rule="kubernetes",
        because="'readonly' was unexpected",
    ),
    Broken(
        name="a port that is a word",
        changes={f"{GANGS}.{WORKER}.ports.metrics.containerPort": "8080"},
        rule="kubernetes",
        because="'8080' is not of type 'integer'",
    ),
    Broken(
        name="a word that is not among the choices",
        changes={"RayCluster.spec.authOptions.mode": "password"},
        rule="kuberay",
        because="'password' is not one of ['disabled', 'token']",
    ),
    Broken(
        name="a group without pods",
        changes={f"{GANGS}.template": GONE},
        rule="kuberay",
        because="'template' is a required property",
        besides=("kubernetes",),
    ),
    Broken(
        name="the version of old",
        changes={"RayCluster.apiVersion": "ray.io/v1alpha1"},
        rule="kuberay",
        because="write ray.io/v1",
    ),
    Broken(
        name="no kind of Kubernetes",
        changes={"PodDisruptionBudget.apiVersion": "policy/v1beta1"},
        rule="kubernetes",
        because="policy/v1beta1 PodDisruptionBudget is no kind",
    ),
    Broken(
        name="somebody else's manager",
        changes={"RayCluster.spec.managedBy": "me"},
        rule="kuberay",
        because="the managedBy field value must be either",
    ),
    Broken(
        name="a manager that changes",
        changes={"RayCluster.spec.managedBy": "ray.io/kuberay-operator"},
        before={"RayCluster.spec.managedBy": "kueue.x-k8s.io/multikueue"},
        rule="kuberay",
        because="the managedBy field is immutable",
    ),
    Broken(
        name="another backend of fault tolerance for a cluster that runs",
        overlay=SERVICE,
        changes={"RayService.spec.rayClusterConfig.gcsFaultToleranceOptions": {"backend": "rocksdb"}},
        before={"RayService.spec.rayClusterConfig.gcsFaultToleranceOptions": {"backend": "redis"}},
        rule="kuberay",
        because="gcsFaultToleranceOptions.backend is immutable",
    ),
    Broken(
        name="old and new ways of deletion together",
        overlay=JOB,
        changes={
            "RayJob.spec.deletionStrategy": {
                **RULES,
                "onSuccess": {"policy": "DeleteSelf"},
                "onFailure": {"policy": "DeleteNone"},
            }
        },
        rule="kuberay",
        because="cannot be used together within the same deletionStrategy",
    ),
    Broken(
        name="a deletion without a condition",
        overlay=JOB,
        changes={"RayJob.spec.deletionStrategy": {"deletionRules": [{"policy": "DeleteSelf", "condition": {}}]}},
        rule="kuberay",
        because="requires either the JobStatus or the JobDeploymentStatus field",
    ),
)

PODS = (
    Broken(
        name="privileged",
        changes={f"{GANGS}.{WORKER}.securityContext.privileged": True},
        rule="unprivileged",
        because="ray-worker is privileged",
    ),
    Broken(
        name="root",
        changes={f"{HEAD}.template.spec.securityContext.runAsNonRoot": False},
        rule="unprivileged",
        because="ray-head may run as root",
    ),
    Broken(
        name="a capability",
        changes={f"{GANGS}.{WORKER}.securityContext.capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}},
        rule="unprivileged",
        because="keeps capabilities",
    ),
    Broken(
        name="a folder of the host",
        changes={f"{GANGS}.template.spec.volumes.tmp": {"name": "tmp", "hostPath": {"path": "/tmp"}}},
        rule="unprivileged",
        because="volume tmp is a path of the host",
        besides=("read-only-root",),
    ),
    Broken(
        name="services that look like settings",
        changes={f"{GANGS}.template.spec.enableServiceLinks": GONE},
        rule="service-links",
        because="set enableServiceLinks: false",
    ),
    Broken(
        name="a submitter that may gain privileges",
        overlay=JOB,
        changes={"RayJob.spec.submitterPodTemplate.spec.containers.0.securityContext.allowPrivilegeEscalation": True},
        rule="unprivileged",
        because="set allowPrivilegeEscalation: false",
    ),
    Broken(
        name="a root folder to write on",
        changes={f"{GANGS}.{WORKER}.securityContext.readOnlyRootFilesystem": GONE},
        rule="read-only-root",
        because="set readOnlyRootFilesystem: true",
    ),
    Broken(
        name="nothing to write on",
        changes={f"{GANGS}.{WORKER}.volumeMounts.tmp": GONE},
        rule="read-only-root",
        because="nothing to write on at /tmp",
    ),
    Broken(
        name="no limit of memory",
        changes={f"{HEAD}.{HEADS}.resources.limits": {"cpu": "2"}},
        rule="bounded",
        because="no limit of memory",
    ),
    Broken(
        name="an image of no version",
        changes={f"{GANGS}.{WORKER}.image": "wanfarm:latest"},
        rule="pinned-images",
        because="'wanfarm:latest' is not pinned",
    ),
    Broken(
        name="an image of another Ray",
        changes={f"{GANGS}.{WORKER}.image": "wanfarm:0.1.0-ray2.59.1-cuda"},
        rule="pinned-images",
        because="does not say ray2.60.0",
    ),
)

REFERENCES = (
    Broken(
        name="a secret that is nowhere",
        changes={f"{GANGS}.{WORKER}.envFrom": [{"secretRef": {"name": "wanfarm-s4"}}]},
        rule="secrets",
        because="secret wanfarm-s4 is not among those made beforehand",
    ),
    Broken(
        name="no word of the secret with the token",
        changes={"Namespace.metadata.annotations.secrets~wanfarm~io/wanfarm-ray-auth": GONE},
        rule="secrets",
        because="secret wanfarm-ray-auth is not among those made beforehand",
    ),
    Broken(
        name="a token under another key than KubeRay's",
        changes={"Namespace.metadata.annotations.secrets~wanfarm~io/wanfarm-ray-auth": "token"},
        rule="secrets",
        because="secret wanfarm-ray-auth has no key auth_token",
    ),
    Broken(
        name="a secret in a manifest",
        changes={"Namespace.kind": "Secret", "Secret.apiVersion": "v1", "Secret.metadata.name": "wanfarm-ray-auth"},
        rule="secrets",
        because="secrets do not belong into manifests",
    ),
    Broken(
        name="weights that nobody keeps",
        changes={"PersistentVolumeClaim": GONE},
        rule="references",
        because="there is no volume claim wanfarm-models",
    ),
    Broken(
        name="a priority that is nowhere",
        changes={f"{GANGS}.template.spec.priorityClassName": "urgent"},
        rule="references",
        because="there is no priority class urgent",
    ),
    Broken(
        name="a job that lands in another namespace",
        overlay=JOB,
        changes={"RayJob.metadata.namespace": GONE},
        rule="namespaces",
        because="it is in no namespace, all else in wanfarm",
    ),
    Broken(
        name="a budget by share",
        changes={"PodDisruptionBudget.spec": {"maxUnavailable": 1, "selector": {"matchLabels": {}}}},
        rule="budgets",
        because="give minAvailable as a number",
    ),
    Broken(
        name="a budget of nobody",
        changes={"PodDisruptionBudget.spec.selector.matchLabels": {"app": "other"}},
        rule="budgets",
        because="no pod has the labels",
    ),
    Broken(
        name="an open network",
        changes={"NetworkPolicy/deny-all": GONE},
        rule="network",
        because="nothing denies by default",
    ),
    Broken(
        name="no names",
        changes={"NetworkPolicy/dns": GONE},
        rule="network",
        because="cannot ask DNS",
    ),
    Broken(
        name="an autoscaler shut in",
        changes={"NetworkPolicy/api-server": GONE},
        rule="network",
        because="the autoscaler cannot reach the API server",
    ),
    Broken(
        name="nodes that cannot speak to each other",
        changes={"NetworkPolicy/within-farm": GONE},
        rule="network",
        because="cannot reach the other nodes of its cluster",
    ),
    Broken(
        name="no eyes on it",
        changes={"NetworkPolicy/prometheus": GONE},
        rule="network",
        because="port 8080 is closed to those who need it",
    ),
    Broken(
        name="gauges where nobody looks",
        changes={f"{HEAD}.{HEADS}.ports.farm-run.name": "run"},
        rule="metric-ports",
        because="no port 8090 with the name farm-run",
    ),
)

RAY = (
    Broken(
        name="another Ray than the farm's",
        changes={"RayCluster.spec.rayVersion": "2.59.1"},
        rule="ray-version",
        because="rayVersion is 2.59.1, the farm's is 2.60.0",
        besides=("pinned-images",),
    ),
    Broken(
        name="authentication without a mode",
        changes={"RayCluster.spec.authOptions": {}},
        rule="token-auth",
        because="without a mode there is none",
    ),
    Broken(
        name="a token, and no rayVersion",
        changes={"RayCluster.spec.rayVersion": GONE},
        rule="token-auth",
        because="token authentication needs rayVersion",
        besides=("ray-version", "pinned-images"),
    ),
    Broken(
        name="tokens of Kubernetes for a job",
        overlay=JOB,
        changes={"RayJob.spec.rayClusterSpec.authOptions.enableK8sTokenAuth": True},
        rule="token-auth",
        because="tokens of Kubernetes are not for a RayJob",
    ),
    Broken(
        name="a head that renders",
        changes={f"{HEAD}.rayStartParams": {}},
        rule="head",
        because='num-cpus: "0"',
    ),
    Broken(
        name="the autoscaler of old",
        changes={"RayCluster.spec.autoscalerOptions.version": "v1"},
        rule="autoscaling",
        because="set autoscalerOptions.version: v2",
    ),
    Broken(
        name="pods that restart by themselves",
        changes={f"{GANGS}.template.spec.restartPolicy": "Always"},
        rule="autoscaling",
        because="leave restartPolicy out",
    ),
    Broken(
        name="more replicas than the most",
        changes={f"{GANGS}.replicas": 9},
        rule="autoscaling",
        because="replicas 9 are not between minReplicas 0 and maxReplicas 4",
    ),
    Broken(
        name="a label that Ray sets",
        changes={f"{GANGS}.labels": {"ray.io/node-id": "1"}},
        rule="node-labels",
        because="ray.io/node-id is Ray's own to set",
    ),
    Broken(
        name="fault tolerance behind a gate",
        changes={"RayCluster.spec.gcsFaultToleranceOptions": {"backend": "rocksdb", "storage": {"claimName": "x"}}},
        rule="gates",
        because="rocksdb is alpha",
    ),
    Broken(
        name="a network policy behind a gate",
        changes={"RayCluster.spec.networkPolicy": {"mode": "DenyAll"}},
        rule="gates",
        because="networkPolicy is alpha",
    ),
    Broken(
        name="a threshold that does nothing",
        overlay=SERVICE,
        changes={"RayService.spec.serviceUnhealthySecondThreshold": 300},
        rule="gates",
        because="serviceUnhealthySecondThreshold does nothing any more",
    ),
)

JOBS = (
    Broken(
        name="a job that fails for a bad row",
        overlay=JOB,
        changes={"RayJob.spec.entrypoint": replacing(" --max-failed 100%", "")},
        rule="entry-point",
        because="without --max-failed 100% one bad row fails the job",
    ),
    Broken(
        name="a driver with a cluster of its own",
        overlay=JOB,
        changes={"RayJob.spec.entrypoint": "wanfarm render s3://b/p.parquet --out s3://b/o --max-failed 100%"},
        rule="entry-point",
        because="without --address auto",
        besides=("gpus",),
    ),
    Broken(
        name="a flag that render does not know",
        overlay=JOB,
        changes={"RayJob.spec.entrypoint": replacing("--gpus", "--gpu-count")},
        rule="entry-point",
        because="no call of wanfarm render",
    ),
    Broken(
        name="another program",
        overlay=JOB,
        changes={"RayJob.spec.entrypoint": "python render.py"},
        rule="entry-point",
        because="the entry point is 'python render.py'",
    ),
    Broken(
        name="a job that is tried once",
        overlay=JOB,
        changes={"RayJob.spec.backoffLimit": GONE},
        rule="retries",
        because="set backoffLimit",
    ),
    Broken(
        name="a cluster that stays for ever",
        overlay=JOB,
        changes={"RayJob.spec.shutdownAfterJobFinishes": False},
        rule="ending",
        because="set shutdownAfterJobFinishes",
    ),
    Broken(
        name="two ways to end",
        overlay=JOB,
        changes={"RayJob.spec.deletionStrategy": RULES},
        rule="ending",
        because="deletionRules exclude shutdownAfterJobFinishes",
    ),
    Broken(
        name="a driver that is killed while it drains",
        overlay=JOB,
        changes={"RayJob.spec.runtimeEnvYAML": "env_vars: {}"},
        rule="stopping",
        because="RAY_JOB_STOP_WAIT_TIME_S is 3 s, a driver with --grace 60 needs 120",
    ),
    Broken(
        name="a setting where nobody reads it",
        overlay=JOB,
        changes={f"{JOB_GANGS}.{WORKER}.env.WANFARM_CACHE.value": "/mine"},
        rule="settings",
        because="WANFARM_CACHE=/mine does nothing here",
    ),
    Broken(
        name="Kueue, and a job that stays",
        overlay="multi-gpu/job-kueue",
        changes={"RayJob.spec.shutdownAfterJobFinishes": GONE, "RayJob.spec.clusterSelector": {"a": "b"}},
        rule="queues",
        because="Kueue takes no job with a clusterSelector",
    ),
    Broken(
        name="Kueue, and a job that starts by itself",
        overlay="multi-gpu/job-kueue",
        changes={"RayJob.spec.suspend": False},
        rule="queues",
        because="Kueue starts it by spec.suspend",
    ),
    Broken(
        name="Kueue, and an autoscaler",
        overlay="multi-gpu/job-kueue",
        changes={
            "RayJob.spec.rayClusterSpec.enableInTreeAutoscaling": True,
            "RayJob.spec.rayClusterSpec.autoscalerOptions": {"version": "v2"},
        },
        rule="queues",
        because="a queue cannot hold what an autoscaler adds",
    ),
    Broken(
        name="Kueue, and more worker groups than it takes",
        overlay="multi-gpu/job-kueue",
        changes={
            "RayJob.spec.rayClusterSpec.workerGroupSpecs": lambda groups: [
                *groups,
                *[{**groups[0], "groupName": f"text-{number}"} for number in range(17)],
            ]
        },
        rule="queues",
        because="at most 17 worker groups",
    ),
    Broken(
        name="more than the quota",
        overlay="multi-gpu/job-kueue",
        changes={"ClusterQueue.spec.resourceGroups.0.flavors.wanfarm.resources.nvidia~com/gpu.nominalQuota": "16"},
        rule="queues",
        because="asks for 32 of nvidia.com/gpu, the queue wanfarm has 16",
    ),
    Broken(
        name="Volcano, and a group of no fixed size",
        overlay="multi-host/job-volcano",
        changes={f"{JOB_GANGS}.minReplicas": 0},
        rule="queues",
        because="must be one number in a queue",
    ),
)

SUMS = (
    Broken(
        name="more GPUs than there are",
        overlay=JOB,
        changes={f"{JOB_GANGS}.maxReplicas": 3},
        rule="gpus",
        because="--gpus 32, but its groups have 24 at most",
    ),
    Broken(
        name="GPUs that no gang takes",
        overlay=JOB,
        changes={"RayJob.spec.entrypoint": replacing("--gpus 32", "--gpus 30")},
        rule="gpus",
        because="--gpus 30 is no multiple of a gang's 8: 6 would idle",
    ),
    Broken(
        name="pods of fewer GPUs than a gang has on a host",
        overlay=JOB,
        changes={
            f"{JOB_GANGS}.{WORKER}.resources": {"limits": _gpus("4"), "requests": _gpus("4")},
            f"{JOB_GANGS}.maxReplicas": 8,
        },
        rule="gpus",
        because="pods of 4 GPUs cannot be shared out among gangs of 8 on a host",
    ),
    Broken(
        name="hosts that come one by one",
        overlay="multi-host/job",
        changes={f"{JOB_GANGS}.numOfHosts": 1, f"{JOB_GANGS}.maxReplicas": 4},
        rule="gpus",
        because="numOfHosts is 1, but a gang is on 2 hosts",
    ),
    Broken(
        name="a service of more GPUs than there are",
        overlay=SERVICE,
        changes={SERVE: replacing("max_replicas: 4", "max_replicas: 5")},
        rule="gpus",
        because="may have 40 GPUs by max_replicas, but its groups have 32",
    ),
    Broken(
        name="labels that no pod has",
        overlay="multi-host/service",
        changes={SERVE: replacing("ray.io/gpu-domain: gangs", "ray.io/gpu-domain: rack-1")},
        rule="gpus",
        because="no group with GPUs has the labels {'ray.io/gpu-domain': 'rack-1'}",
    ),
    Broken(
        name="no CPU for a leader",
        overlay=JOB,
        changes={f"{JOB_GANGS}.rayStartParams": {"num-cpus": "2"}},
        rule="cpus",
        because="1 gangs book 4.05 CPUs of a pod that has 2",
    ),
    Broken(
        name="no CPU for servers",
        overlay=SERVICE,
        changes={SERVE: replacing("servers: {replicas: 2, num_cpus: 1}", "servers: {replicas: 8, num_cpus: 4}")},
        rule="cpus",
        because="text encoders, servers and gangs book 44.5 CPUs",
    ),
    Broken(
        name="no memory for a text encoder",
        overlay=JOB,
        changes={
            "RayJob.spec.rayClusterSpec.workerGroupSpecs.text.template.spec.containers.ray-worker.resources": {
                "limits": {"cpu": "16", "memory": "8Gi"},
                "requests": {"cpu": "16", "memory": "8Gi"},
            }
        },
        rule="memory",
        because="a text encoder take",
    ),
    Broken(
        name="weights that no device holds",
        overlay="multi-gpu/job",
        changes={f"{JOB_GANGS}.template.spec.nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090"}},
        rule="memory",
        because="of a device with 24",
    ),
    Broken(
        name="another device than the service is told",
        overlay=SERVICE,
        changes={f"{SERVE_GANGS}.template.spec.nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H200"}},
        rule="memory",
        because="its nodes have nvidia-h200, the Serve file says device: nvidia-h100",
    ),
    Broken(
        name="memory that no pod has",
        overlay=SERVICE,
        changes={SERVE: replacing("memory_gib: 64", "memory_gib: 512")},
        rule="memory",
        because="memory_gib 512 is more than a pod has",
    ),
)

SERVICES = (
    Broken(
        name="a Serve file with a slip of the pen",
        overlay=SERVICE,
        changes={SERVE: replacing("ulysses_degree", "ulyses_degree")},
        rule="serve-file",
        because="ulysses_degree",
    ),
    Broken(
        name="an old cluster that goes before its clips are done",
        overlay=SERVICE,
        changes={"RayService.spec.rayClusterDeletionDelaySeconds": 60},
        rule="upgrades",
        because="rayClusterDeletionDelaySeconds is 60, but the longest clip",
    ),
    Broken(
        name="the delay that KubeRay has by itself",
        overlay="single-gpu/service",
        changes={"RayService.spec.rayClusterDeletionDelaySeconds": GONE},
        rule="upgrades",
        because="rayClusterDeletionDelaySeconds is 60, but the longest clip",
    ),
    Broken(
        name="clips of unknown length",
        overlay="multi-host/service",
        changes={"RayService.metadata.annotations": GONE},
        rule="upgrades",
        because="on nvidia-gb200 is not known",
    ),
    Broken(
        name="a step larger than the surge",
        overlay=SERVICE,
        changes={
            "RayService.spec.upgradeStrategy": {
                "type": "NewClusterWithIncrementalUpgrade",
                "clusterUpgradeOptions": {
                    "gatewayClassName": "istio",
                    "intervalSeconds": 10,
                    "stepSizePercent": 50,
                    "maxSurgePercent": 20,
                },
            }
        },
        rule="upgrades",
        because="stepSizePercent is more than maxSurgePercent",
    ),
    Broken(
        name="a drain shorter than a gang's",
        overlay=SERVICE,
        changes={SERVE: replacing("drain_s: 180", "drain_s: 270")},
        rule="draining",
        because="RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S is 240, a gang needs 285 s",
    ),
    Broken(
        name="a pod that is killed while it drains",
        overlay=SERVICE,
        changes={f"{SERVE_GANGS}.template.spec.terminationGracePeriodSeconds": GONE},
        rule="draining",
        because="terminationGracePeriodSeconds is 30, less than",
    ),
    Broken(
        name="an output that is each pod's own",
        overlay=SERVICE,
        changes={SERVE: replacing("s3://my-bucket/online", "/tmp/online")},
        rule="shared-outputs",
        because="/tmp/online is on no volume claim of this pod",
    ),
)

ALL = (*SCHEMAS, *PODS, *REFERENCES, *RAY, *JOBS, *SUMS, *SERVICES)


@pytest.mark.parametrize("broken", ALL, ids=lambda broken: broken.name.replace(" ", "-"))
def test_it_is_refused_for_that_reason(overlay: Any, broken: Broken) -> None:
    objects = changed(overlay(broken.overlay), broken.changes)
    before = {
        f"{found['kind']}/{found['metadata']['name']}": found
        for found in (changed(overlay(broken.overlay), broken.before) if broken.before else ())
    }
    faults = faults_of(objects, before=before)
    assert [fault for fault in faults if fault.rule == broken.rule and broken.because in fault.what], faults
    assert {fault.rule for fault in faults} == {broken.rule, *broken.besides}, faults


def test_every_rule_refuses_something() -> None:
    rules = {policy.__name__.replace("_", "-") for policy in POLICIES}
    assert {broken.rule for broken in ALL} == {*rules, "kuberay", "kubernetes"}
    assert len({broken.name for broken in ALL}) == len(ALL)
