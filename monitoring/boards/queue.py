"""What waits online, who works on it, and whether the farm grows as it should."""

from __future__ import annotations

from farm import metrics
from monitoring.expressions import HERE, quantile, rate, ratio, selected, total
from monitoring.panels import Dashboard, Panel, Query, Row

RENDERERS = 'deployment=~"renderer-.*"'
BACKLOG = total(metrics.BACKLOG_SECONDS, by="cluster, model")
PER_RENDERER = ratio(BACKLOG, total(metrics.RENDERERS, by="cluster, model"))
NO_AUTOSCALER = "only where Ray's autoscaler runs (KubeRay)"

BOARD = Dashboard(
    uid="wanfarm-queue",
    title="wanfarm / Queue and autoscaling",
    about="What waits online, who works on it, and whether the farm grows and shrinks as it should.",
    rows=(
        Row(
            title="Queue",
            panels=(
                Panel(
                    title="Jobs",
                    about="Queued and in work, as the dispatcher sees them.",
                    is_stacked=True,
                    queries=(Query(expr=total(metrics.QUEUE_CLIPS, by="model, state"), legend="{{model}} {{state}}"),),
                ),
                Panel(
                    title="Backlog",
                    about="Seconds that one gang would take for all that is queued and in work.",
                    unit="s",
                    queries=(Query(expr=total(metrics.BACKLOG_SECONDS, by="model"), legend="{{model}}"),),
                ),
                Panel(
                    title="Backlog of each renderer",
                    about="What autoscaling holds against its target. Absent where there is no renderer.",
                    unit="s",
                    queries=(Query(expr=PER_RENDERER, legend="{{cluster}} {{model}}"),),
                ),
            ),
        ),
        Row(
            title="Renderers",
            panels=(
                Panel(
                    title="Renderers the dispatcher has heard of",
                    about="busy: at a job. None while jobs are queued: they are starting, or cannot.",
                    is_stacked=True,
                    queries=(Query(expr=total(metrics.RENDERERS, by="model, state"), legend="{{model}} {{state}}"),),
                ),
                Panel(
                    title="Replicas: wanted and healthy",
                    about="Wanted by the policy on backlog seconds, not yet held within min and max_replicas; "
                    "healthy in Serve's eyes.",
                    queries=(
                        Query(
                            expr=f"max by (deployment) (ray_serve_autoscaling_desired_replicas{{{HERE},{RENDERERS}}})",
                            legend="{{deployment}} wanted",
                        ),
                        Query(
                            expr=f"sum by (deployment) (ray_serve_deployment_replica_healthy{{{HERE},{RENDERERS}}})",
                            legend="{{deployment}} healthy",
                        ),
                    ),
                ),
                Panel(
                    title="Nodes: there and on their way",
                    about="On their way: asked of the autoscaler.",
                    queries=(
                        Query(expr=f"sum (ray_cluster_active_nodes{{{HERE}}})", legend="there"),
                        Query(
                            expr=f"sum by (node_type) (ray_cluster_pending_nodes{{{HERE}}})",
                            legend="{{node_type}} on its way",
                            why_empty=NO_AUTOSCALER,
                        ),
                    ),
                ),
            ),
        ),
        Row(
            title="Requests",
            panels=(
                Panel(
                    title="Submissions a minute, by what became of them",
                    about="answered: from the ledger. repeated: by idempotency key. limited: 429, no room.",
                    is_stacked=True,
                    queries=(Query(expr=f"60 * {rate(metrics.SUBMISSIONS, by='result')}", legend="{{result}}"),),
                ),
                Panel(
                    title="Jobs that ended, a minute",
                    about="By how.",
                    is_stacked=True,
                    queries=(
                        Query(
                            expr=f"60 * sum by (status) (rate({metrics.JOB_SECONDS.name}_count"
                            f'{{{HERE},model=~"$model"}}[$__rate_interval]))',
                            legend="{{status}}",
                        ),
                    ),
                ),
                Panel(
                    title="HTTP requests a second, by answer",
                    about="As Serve's proxy counts them.",
                    queries=(
                        Query(
                            expr=f"sum by (status_code) (rate(ray_serve_num_http_requests_total{{{HERE}}}"
                            "[$__rate_interval]))",
                            legend="{{status_code}}",
                        ),
                    ),
                ),
                Panel(
                    title="How long jobs wait, 95 %",
                    about="From submission to a renderer.",
                    unit="s",
                    width=12,
                    queries=(Query(expr=quantile(0.95, metrics.JOB_WAIT_SECONDS, by="model"), legend="{{model}}"),),
                ),
                Panel(
                    title="Batch clips left beside it",
                    about="Runs on the same cluster; they give way where the configuration says so.",
                    width=12,
                    queries=(
                        Query(
                            expr=f"sum ({selected(metrics.RUN_CLIPS)} - {selected(metrics.RUN_DONE)} - "
                            f"{selected(metrics.RUN_FAILED)})",
                            legend="clips left",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
