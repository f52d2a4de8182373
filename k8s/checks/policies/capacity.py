"""Sums: what runs and services ask of their cluster is what its pods have, of GPUs, CPUs and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deployments.app import CPUS_PER_GPU
from deployments.config import ModelConfig
from farm.calibration import device_kind
from farm.memory import USABLE, Need, device_memory, need_of
from farm.parallelism import ParallelPlan
from jobs.fleet import ENCODER_CPUS, POOL_LABEL, TEXT_POOL
from k8s.checks.calls import RenderJob, Service, card_of, largest_clip, render_jobs, services
from k8s.checks.faults import Fault
from k8s.checks.objects import GIB, Cluster, Group
from k8s.checks.rendering import Objects

PRODUCT = "nvidia.com/gpu.product"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gangs:
    """Gangs of one model that a cluster has to have room for at once. None for `number`: as many as fit."""

    model: str
    parallel: ParallelPlan
    number: int | None
    has_pools: bool = False
    device: str | None = None
    labels: Mapping[str, str]
    leader_cpus: float


def gangs_of(job: RenderJob) -> Gangs:
    degrees = job.execution.degrees
    return Gangs(
        model=job.asked.model,
        parallel=job.parallel,
        number=None if job.execution.gpus is None else job.execution.gpus // job.parallel.degree,
        has_pools=degrees.expert_pools == "on",
        labels={},
        leader_cpus=CPUS_PER_GPU * job.parallel.ranks_per_host,
    )


def gangs_for(model: ModelConfig) -> Gangs:
    usual = CPUS_PER_GPU * model.parallel.ranks_per_host
    return Gangs(
        model=model.model,
        parallel=model.parallel,
        number=model.scaling.max_replicas,
        device=model.device,
        labels=model.label_selector,
        leader_cpus=usual if model.num_cpus is None else model.num_cpus,
    )


def gpus(objects: Objects) -> Iterator[Fault]:
    """As many as are asked for, in pods that gangs fill, replicas whole."""
    for job in render_jobs(objects):
        where, asked, degree = job.cluster.where, job.execution.gpus, job.parallel.degree
        there = sum(group.max_pods * group.gpus for group in job.cluster.groups)
        if asked is None:
            if there and job.cluster.spec.get("enableInTreeAutoscaling"):
                what = f"without --gpus the run starts with the GPUs that are there already, not with all {there}"
                yield Fault(where=where, rule="gpus", what=what)
            continue
        if asked > there:
            yield Fault(where=where, rule="gpus", what=f"--gpus {asked}, but its groups have {there} at most")
        if asked % degree:
            what = f"--gpus {asked} is no multiple of a gang's {degree}: {asked % degree} would idle"
            yield Fault(where=where, rule="gpus", what=what)
        yield from _shape_faults(job.cluster, gangs_of(job))
    for service in services(objects):
        models = [gangs_for(model) for model in service.config.models if model.device != "cpu"]
        asked = sum(gangs.parallel.degree * (gangs.number or 0) for gangs in models)
        there = sum(group.max_pods * group.gpus for group in service.cluster.groups)
        if asked > there:
            what = f"its models may have {asked} GPUs by max_replicas, but its groups have {there} at most"
            yield Fault(where=service.cluster.where, rule="gpus", what=what)
        for gangs in models:
            yield from _shape_faults(service.cluster, gangs)


def _shape_faults(cluster: Cluster, gangs: Gangs) -> Iterator[Fault]:
    """Of each group that the gangs may be on."""
    per_host, num_hosts = gangs.parallel.ranks_per_host, gangs.parallel.num_hosts
    groups = _matching(cluster, gangs)
    if not groups:
        yield Fault(where=cluster.where, rule="gpus", what=f"no group with GPUs has the labels {dict(gangs.labels)}")
    for group in groups:
        if group.gpus % per_host:
            what = f"pods of {group.gpus} GPUs cannot be shared out among gangs of {per_host} on a host"
            yield Fault(where=group.pod.where, rule="gpus", what=what)
        if group.max_pods % num_hosts or (num_hosts > 1 and group.num_hosts % num_hosts):
            what = f"numOfHosts is {group.num_hosts}, but a gang is on {num_hosts} hosts: they must come together"
            yield Fault(where=group.pod.where, rule="gpus", what=what)


def cpus(objects: Objects) -> Iterator[Fault]:
    """Of leaders beside their GPUs; and of text encoders, servers and the dispatcher in the pods that take them."""
    for job in render_jobs(objects):
        yield from _leader_faults(job.cluster, gangs_of(job), beside=ENCODER_CPUS)
    for service in services(objects):
        for model in service.config.models:
            if model.device != "cpu":
                yield from _leader_faults(service.cluster, gangs_for(model), beside=0.0)
        yield from _process_faults(service)


def _leader_faults(cluster: Cluster, gangs: Gangs, *, beside: float) -> Iterator[Fault]:
    for group in _matching(cluster, gangs):
        number = group.gpus // gangs.parallel.ranks_per_host
        asked = number * gangs.leader_cpus + beside
        if asked > group.cpus:
            what = f"{number} gangs book {asked:g} CPUs of a pod that has {group.cpus:g}"
            yield Fault(where=group.pod.where, rule="cpus", what=what)


def _process_faults(service: Service) -> Iterator[Fault]:
    """Processes on CPUs, by the labels of the pods they may be in."""
    config, where = service.config, service.cluster.where
    selected = dict[tuple[tuple[str, str], ...], list[float]]()
    for model in config.models:
        selected.setdefault(tuple(model.text_label_selector.items()), []).append(model.text_cpus)
        if model.device == "cpu":
            each = model.threads * model.parallel.degree if model.num_cpus is None else model.num_cpus
            selected.setdefault(tuple(model.label_selector.items()), []).extend([each] * model.scaling.max_replicas)
    servers = [config.servers.num_cpus] * config.servers.replicas
    text = next((labels for labels in selected if dict(labels).get(POOL_LABEL) == TEXT_POOL), ())
    selected.setdefault(text, []).extend([*servers, config.dispatcher.num_cpus])
    for labels, asked in selected.items():
        groups = [group for group in service.cluster.groups if dict(labels).items() <= group.labels.items()]
        there = sum(group.max_pods * group.cpus for group in groups)
        largest = max((group.cpus for group in groups), default=0.0)
        if sum(asked) > there or max(asked) > largest:
            what = (
                f"text encoders, servers and gangs book {sum(asked):g} CPUs (one of them {max(asked):g}) of pods with "
                f"{dict(labels) or 'any labels'}, which have {there:g} in all and {largest:g} each at most"
            )
            yield Fault(where=where, rule="cpus", what=what)


def memory(objects: Objects) -> Iterator[Fault]:
    """As `wanfarm plan` estimates it, for the largest clip that a model's card allows."""
    for job in render_jobs(objects):
        yield from _memory_faults(job.cluster, gangs_of(job), text_labels={POOL_LABEL: TEXT_POOL})
    for service in services(objects):
        for model in service.config.models:
            if model.device != "cpu":
                yield from _memory_faults(service.cluster, gangs_for(model), text_labels=model.text_label_selector)
            yield from _booking_faults(service.cluster, model)


def _memory_faults(cluster: Cluster, gangs: Gangs, *, text_labels: Mapping[str, str]) -> Iterator[Fault]:
    card = card_of(gangs.model)
    if card is None or not cluster.gpu_groups:
        return
    need = need_of(largest_clip(card), card).held(has_pools=gangs.has_pools)
    for group in _matching(cluster, gangs):
        host_bytes = need.memory("gpu", parallel=gangs.parallel).host_bytes
        asked = host_bytes * (group.gpus // gangs.parallel.ranks_per_host)
        yield from _too_little(group, asked, "its gangs' processes")
        yield from _device_faults(group, gangs, need)
    nodes = [group for group in cluster.groups if text_labels.items() <= group.labels.items()] or cluster.groups
    for group in nodes:
        yield from _too_little(group, need.encoder, "a text encoder")


def _too_little(group: Group, asked: float, whose: str) -> Iterator[Fault]:
    if asked > group.memory_bytes:
        what = (
            f"{whose} take {asked / GIB:.0f} GiB of a pod with {group.memory_bytes / GIB:.0f} (less the object store)"
        )
        yield Fault(where=group.pod.where, rule="memory", what=what)


def _device_faults(group: Group, gangs: Gangs, need: Need) -> Iterator[Fault]:
    """The GPU that the pods' node selector names: whether it is the one configured, and whether a rank fits."""
    product = (group.pod.spec.get("nodeSelector") or {}).get(PRODUCT)
    if product is None:
        yield Fault(where=group.pod.where, rule="memory", what=f"any GPU will do for it: select nodes by {PRODUCT}")
        return
    kind = device_kind(product)
    if gangs.device is not None and kind != gangs.device and not kind.startswith(gangs.device + "-"):
        what = f"its nodes have {kind}, the Serve file says device: {gangs.device}"
        yield Fault(where=group.pod.where, rule="memory", what=what)
    size, rank = device_memory(kind), need.weights
    if size is not None and rank > USABLE * size:
        what = f"the weights of {gangs.model} take {rank / GIB:.0f} GiB of a device with {size / GIB:.0f}"
        yield Fault(where=group.pod.where, rule="memory", what=what)


def _booking_faults(cluster: Cluster, model: ModelConfig) -> Iterator[Fault]:
    """What Ray is to book fits into a pod: else a replica waits for ever."""
    wanted = [(model.memory_gib, model.label_selector, "memory_gib", cluster.gpu_groups)]
    wanted.append((model.text_memory_gib, model.text_label_selector, "text_memory_gib", cluster.groups))
    for gib, labels, name, groups in wanted:
        most = max((group.memory_bytes for group in groups if labels.items() <= group.labels.items()), default=0.0)
        if gib is not None and gib * GIB > most:
            what = f"{name} {gib:g} is more than a pod has ({most / GIB:.0f} GiB less the object store)"
            yield Fault(where=cluster.where, rule="memory", what=what)


def _matching(cluster: Cluster, gangs: Gangs) -> Sequence[Group]:
    """The groups that its gangs may be on."""
    return [group for group in cluster.gpu_groups if gangs.labels.items() <= group.labels.items()]
