"""Recording rules and alerts. Every alert has an entry of its name in docs/guides/runbook.md.

Labels that workers and processes have of their own are added up; `cluster` stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from monitoring.tuning import TUNING, Tuning

RUNBOOK = "docs/guides/runbook.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """An expression whose result is kept under a name: level:metric:operation."""

    record: str
    expr: str
    labels: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"record": self.record, "expr": self.expr}
        return found | ({"labels": dict(self.labels)} if self.labels else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A condition that somebody should hear of.

    Args:
        severity: critical wakes people: work stands still or is being lost. warning can wait for the morning.
        hold: for how long it has to stand.
        says: one line, with labels in Prometheus' templates.
    """

    name: str
    expr: str
    severity: Literal["critical", "warning"]
    hold: str
    says: str

    def to_json(self) -> dict[str, Any]:
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.says, "runbook": f"{RUNBOOK}#{self.name.lower()}"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are worked out together, one after the other."""

    name: str
    interval: str
    rules: Sequence[Recording | Alert]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "interval": self.interval, "rules": [rule.to_json() for rule in self.rules]}


def groups(tuning: Tuning = TUNING, *, interval: str = "30s") -> tuple[Group, ...]:
    """All rules."""
    return (
        Group(name="farm-records", interval=interval, rules=recordings(tuning)),
        Group(name="farm-runs", interval=interval, rules=run_alerts(tuning)),
        Group(name="farm-gangs", interval=interval, rules=gang_alerts(tuning)),
        Group(name="farm-online", interval=interval, rules=online_alerts(tuning)),
        Group(name="farm-cost", interval=interval, rules=cost_alerts(tuning)),
    )


def recordings(tuning: Tuning) -> tuple[Recording, ...]:
    """What alerts, and long ranges of dashboards, are worked out from."""
    long, window = tuning.long, tuning.window
    model, month = "cluster, model", tuning.month
    return (
        Recording(
            record="model:farm_clip_render_seconds:p95",
            expr=f"histogram_quantile(0.95, sum by ({model}, le) (rate(farm_clip_render_seconds_bucket[{long}]))) > 0",
        ),
        Recording(
            record="model:farm_devices:busy_share",
            expr=f'sum by ({model}) (farm_devices{{state="rendering"}}) / (sum by ({model}) (farm_devices) > 0)',
        ),
        Recording(
            record="model:farm_lost_steps:share",
            expr=f"sum by ({model}) (increase(farm_lost_steps_total[{long}])) / "
            f"(sum by ({model}) (increase(farm_denoise_steps_total[{long}])) > 0)",
        ),
        Recording(
            record="model:farm_cost:per_clip",
            expr=f"sum by ({model}, currency) (increase(farm_cost_total[{long}])) / on ({model}) group_left () "
            f'(sum by ({model}) (increase(farm_clips_total{{status="committed"}}[{long}])) > 0)',
        ),
        # Thirty days of every worker are more samples than Prometheus reads at once: it reads one a window, of sums.
        Recording(
            record="farm:cost:increase", expr=f"sum by (cluster, currency) (increase(farm_cost_total[{tuning.window}]))"
        ),
        Recording(record="farm:cost:30d", expr=f"sum_over_time(farm:cost:increase[{month}:{tuning.window}])"),
        Recording(record="farm:budget:30d", expr=f"vector({tuning.budget:g})", labels=(("currency", tuning.currency),)),
        Recording(
            record="gang:farm_step_seconds:median",
            expr="histogram_quantile(0.5, sum by (cluster, model, shape, degree, NodeAddress, WorkerId, le) "
            f"(rate(farm_step_seconds_bucket[{window}]))) > 0",
        ),
    )


def run_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """Of batch runs, and of clips whoever asked for them."""
    long = tuning.long
    left = "(farm_run_clips - farm_run_done - farm_run_failed > 0)"
    quiet = "(time() - farm_run_last_end_timestamp_seconds)"
    # Remembered for a day: where nothing ends any more, nothing tells either how long clips take.
    p95 = "max by (cluster) (max_over_time(model:farm_clip_render_seconds:p95[1d]))"
    slow = f"clamp_min(3 * {p95}, {tuning.stall_floor_s:g})"
    ended = f'sum by (cluster, model) (increase(farm_clips_total{{status=~"committed|failed"}}[{long}]))'
    failed = f'sum by (cluster, model) (increase(farm_clips_total{{status="failed"}}[{long}]))'
    return (
        Alert(
            name="FarmRunStalled",
            expr=f"({quiet} > on (cluster) group_left () {slow} or {quiet} > {tuning.stall_blind_s:g}) "
            f"and on (cluster, run) {left}",
            severity="critical",
            hold=tuning.briefly,
            says="run {{ $labels.run }} ({{ $labels.manifest }}): no clip ended for {{ $value | humanizeDuration }}",
        ),
        Alert(
            name="FarmClipsGivenUp",
            expr=f"sum by (cluster, model, error_class) (increase(farm_dead_letters_total[{tuning.window}])) > 0",
            severity="warning",
            hold="0m",
            says="{{ $labels.model }}: clips were given up for {{ $labels.error_class }}",
        ),
        Alert(
            name="FarmFailureShare",
            expr=f"{failed} / ({ended} > 0) > {tuning.failed_share:g}",
            severity="critical",
            hold=tuning.briefly,
            says="{{ $labels.model }}: {{ $value | humanizePercentage }} of the clips that ended were given up",
        ),
        Alert(
            name="FarmPublishConflicts",
            expr=f"sum by (cluster) (increase(farm_publish_conflicts_total[{tuning.window}])) > {tuning.conflicts}",
            severity="warning",
            hold="0m",
            says='clips that were rendered and another worker had put first: {{ printf "%.0f" $value }}',
        ),
        Alert(
            name="FarmTargetDown",
            # The autoscaler's port of a head that has none beside it (Kueue, Volcano) never answers.
            expr='up{job=~".*wanfarm-ray",endpoint!="as-metrics"} == 0',
            severity="warning",
            hold=tuning.briefly,
            says="{{ $labels.instance }} of {{ $labels.cluster }} does not answer Prometheus",
        ),
    )


def gang_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """Of gangs and what holds them."""
    window = tuning.window
    shape = "cluster, model, shape, degree"
    idle = f"avg_over_time(model:farm_devices:busy_share[{window}]) < {tuning.idle_share:g}"
    placed = 'sum by (cluster) (ray_gcs_placement_group_count{State="Registered"})'
    gangs = "sum by (cluster) (farm_gangs)"
    online_work = "(sum by (cluster, model) (farm_queue_clips) > 0)"
    batch_work = "(sum by (cluster) (farm_run_clips - farm_run_done - farm_run_failed) > 0)"
    return (
        Alert(
            name="FarmGangsBreak",
            expr=f"sum by (cluster) (increase(farm_gang_rebuilds_total[{window}])) > {tuning.rebuilds}",
            severity="warning",
            hold="0m",
            says='times that gangs of {{ $labels.cluster }} broke: {{ printf "%.0f" $value }}',
        ),
        Alert(
            name="FarmLostWork",
            expr=f"model:farm_lost_steps:share > {tuning.lost_share:g}",
            severity="warning",
            hold=tuning.briefly,
            says="{{ $labels.model }}: {{ $value | humanizePercentage }} of the denoising steps were computed twice",
        ),
        Alert(
            name="FarmDevicesIdle",
            expr=f"{idle} and on (cluster, model) {online_work} or {idle} and on (cluster) {batch_work}",
            severity="warning",
            hold=tuning.hold,
            says="{{ $labels.model }}: {{ $value | humanizePercentage }} of the devices work, and there is work",
        ),
        Alert(
            name="FarmSlowGang",
            expr=f"gang:farm_step_seconds:median > on ({shape}) group_left () {tuning.slow_ratio:g} * "
            f"quantile by ({shape}) (0.5, gang:farm_step_seconds:median)",
            severity="warning",
            hold=tuning.hold,
            says="a gang on {{ $labels.NodeAddress }} takes {{ $value | humanizeDuration }} for a step of "
            "{{ $labels.shape }}, the others much less",
        ),
        Alert(
            name="FarmActorsDoNotStart",
            expr='sum by (cluster, Name) (ray_actors{State=~"RESTARTING|PENDING_CREATION|DEPENDENCIES_UNREADY",'
            'Source="gcs",Name=~"MapWorker.*|ServeReplica.*"}) > 0',
            severity="warning",
            hold=tuning.hold,
            says="{{ $value }} of {{ $labels.Name }} do not come up",
        ),
        Alert(
            name="FarmPlacementGroupsLeft",
            expr=f"{placed} > on (cluster) {gangs} or {placed} > 0 unless on (cluster) {gangs}",
            severity="warning",
            hold=tuning.hold,
            says="{{ $labels.cluster }} has {{ $value }} placement groups, more than gangs: they hold devices",
        ),
    )


def online_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """Of the videos API and its queue."""
    healthy = "ray_serve_deployment_replica_healthy"
    queued = 'sum by (cluster, model) (farm_queue_clips{state="queued"})'
    return (
        Alert(
            name="FarmDispatcherAway",
            expr=f'sum by (cluster) ({healthy}{{deployment="api"}}) > 0 '
            "unless on (cluster) count by (cluster) (farm_queue_clips)",
            severity="critical",
            hold=tuning.briefly,
            says="{{ $labels.cluster }}: nobody hands out jobs; they are taken on, and wait",
        ),
        Alert(
            name="FarmNoRenderers",
            expr=f"({queued} > 0) and on (cluster, model) (sum by (cluster, model) (farm_renderers) == 0)",
            severity="critical",
            hold=tuning.hold,
            says="{{ $labels.model }}: {{ $value }} jobs wait and no renderer takes them",
        ),
        Alert(
            name="FarmBacklogLong",
            expr="sum by (cluster, model) (farm_backlog_seconds) / "
            f"(sum by (cluster, model) (farm_renderers) > 0) > {tuning.backlog_s:g}",
            severity="warning",
            hold=tuning.hold,
            says="{{ $labels.model }}: {{ $value | humanizeDuration }} of work for each renderer",
        ),
        Alert(
            name="FarmJobsWait",
            expr="histogram_quantile(0.95, sum by (cluster, model, le) "
            f"(rate(farm_job_wait_seconds_bucket[{tuning.window}]))) > {tuning.wait_s:g}",
            severity="warning",
            hold=tuning.briefly,
            says="{{ $labels.model }}: one job in twenty waited for {{ $value | humanizeDuration }}",
        ),
    )


def cost_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """Of money."""
    share = "sum by (currency) (farm:cost:30d) / on (currency) farm:budget:30d"
    return (
        Alert(
            name="FarmBudgetNearlySpent",
            expr=f"{share} > 0.8",
            severity="warning",
            hold=tuning.briefly,
            says="{{ $value | humanizePercentage }} of thirty days' budget is spent",
        ),
        Alert(
            name="FarmBudgetSpent",
            expr=f"{share} > 1",
            severity="critical",
            hold=tuning.briefly,
            says="{{ $value | humanizePercentage }} of thirty days' budget is spent",
        ),
    )
