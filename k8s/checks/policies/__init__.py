"""Every rule that no schema holds, by the name that its faults bear."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from k8s.checks.faults import Fault
from k8s.checks.policies import capacity, jobs, network, pods, ray, references, services
from k8s.checks.rendering import Objects

Policy = Callable[[Objects], Iterator[Fault]]

POLICIES: tuple[Policy, ...] = (
    pods.unprivileged,
    pods.read_only_root,
    pods.service_links,
    pods.bounded,
    pods.pinned_images,
    references.secrets,
    references.references,
    references.namespaces,
    references.budgets,
    network.network,
    network.metric_ports,
    ray.ray_version,
    ray.token_auth,
    ray.head,
    ray.autoscaling,
    ray.node_labels,
    ray.gates,
    jobs.entry_point,
    jobs.retries,
    jobs.ending,
    jobs.stopping,
    jobs.settings,
    jobs.queues,
    services.serve_file,
    services.upgrades,
    services.draining,
    services.shared_outputs,
    capacity.gpus,
    capacity.cpus,
    capacity.memory,
)
"""What each checks stands in its docstring; its faults bear its name, with hyphens."""
