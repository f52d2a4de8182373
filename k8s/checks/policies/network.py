"""Everything is closed but what has to be open, and ports are where scrapers look for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from k8s.checks.faults import Fault
from k8s.checks.objects import Pod, clusters, of_kind
from k8s.checks.rendering import Objects

# As monitoring/podmonitor.yaml names them.
METRIC_PORTS = {"metrics": 8080}
HEAD_PORTS = {"metrics": 8080, "farm-run": 8090, "as-metrics": 44217, "dash-metrics": 44227}
DASHBOARD, SERVE, HTTPS, DNS = 8265, 8000, 443, 53


def network(objects: Objects) -> Iterator[Fault]:
    """Closed by default, for both directions; and each way that the farm cannot do without."""
    policies = [found["spec"] for found in of_kind(objects, "NetworkPolicy")]
    if not any(_is_closed(policy) for policy in policies):
        yield Fault(where="NetworkPolicy", rule="network", what="nothing denies by default: select all pods, both ways")
        return
    for cluster in clusters(objects):
        for pod in cluster.nodes:
            for what in _closed_ways(pod, policies):
                yield Fault(where=pod.where, rule="network", what=what)
        ports = [HEAD_PORTS["metrics"], DASHBOARD, *([SERVE] if cluster.kind == "RayService" else [])]
        for port in ports:
            if not _allows(policies, cluster.head, "ingress", port):
                what = f"port {port} is closed to those who need it (Prometheus, the operator)"
                yield Fault(where=cluster.head.where, rule="network", what=what)
        if cluster.spec.get("enableInTreeAutoscaling") and not _allows(policies, cluster.head, "egress", 6443):
            yield Fault(where=cluster.head.where, rule="network", what="the autoscaler cannot reach the API server")


def metric_ports(objects: Objects) -> Iterator[Fault]:
    """By the names that the PodMonitors know."""
    for cluster in clusters(objects):
        for pod in cluster.nodes:
            wanted = HEAD_PORTS if pod is cluster.head or pod.where.endswith(" head") else METRIC_PORTS
            for name, port in wanted.items():
                if pod.ports.get(name) != port:
                    yield Fault(where=pod.where, rule="metric-ports", what=f"no port {port} with the name {name}")


def _is_closed(policy: Mapping[str, Any]) -> bool:
    is_all = not policy.get("podSelector") and set(policy.get("policyTypes", [])) == {"Ingress", "Egress"}
    return is_all and not policy.get("ingress") and not policy.get("egress")


def _closed_ways(pod: Pod, policies: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not _allows(policies, pod, "egress", DNS):
        yield "cannot ask DNS"
    if not _allows(policies, pod, "egress", HTTPS):
        yield "cannot reach object storage on port 443"
    if not any(_is_among(policy, pod) for policy in policies):
        yield "cannot reach the other nodes of its cluster"


def _applies(policy: Mapping[str, Any], pod: Pod) -> bool:
    wanted = (policy.get("podSelector") or {}).get("matchLabels") or {}
    return bool(wanted.items() <= pod.labels.items())


def _allows(policies: Sequence[Mapping[str, Any]], pod: Pod, way: str, port: int) -> bool:
    """Whether some policy names that port: rules without ports are those within the farm."""
    for policy in policies:
        for rule in policy.get(way) or []:
            if _applies(policy, pod) and port in [entry.get("port") for entry in rule.get("ports", [])]:
                return True
    return False


def _is_among(policy: Mapping[str, Any], pod: Pod) -> bool:
    """Whether it lets pods like this one speak to each other, on any port, both ways."""
    ways = {"from": policy.get("ingress") or [], "to": policy.get("egress") or []}
    return _applies(policy, pod) and all(
        any(
            ((peer.get("podSelector") or {}).get("matchLabels") or {"": ""}).items() <= pod.labels.items()
            for rule in rules
            if not rule.get("ports")
            for peer in rule.get(key, [])
        )
        for key, rules in ways.items()
    )
