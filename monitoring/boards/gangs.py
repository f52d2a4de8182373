"""What gangs do, what breaks them, and what that costs."""

from __future__ import annotations

from farm import metrics
from monitoring.expressions import HERE, rate, total
from monitoring.panels import Dashboard, Panel, Query, Row

GROUPS = "gangs on several hosts alone have placement groups"
LOST_SHARE = f"{rate(metrics.LOST_STEPS, by='model')} / {rate(metrics.DENOISE_STEPS, by='model')}"
FAILED, ENDED = 'status="failed"', 'status=~"committed|failed"'
FAILED_SHARE = f"{rate(metrics.CLIPS, FAILED, by='model')} / {rate(metrics.CLIPS, ENDED, by='model')}"

BOARD = Dashboard(
    uid="wanfarm-gangs",
    title="wanfarm / Gangs and faults",
    about="What gangs do, what breaks them, what was lost by it, and clips that were given up.",
    rows=(
        Row(
            title="Gangs",
            panels=(
                Panel(
                    title="Gangs, by what they do",
                    about="As each one's leader says. A dead leader's gang is gone from here within half a minute.",
                    is_stacked=True,
                    queries=(Query(expr=total(metrics.GANGS, by="state"), legend="{{state}}"),),
                ),
                Panel(
                    title="Gangs that broke, an hour",
                    about="By what broke them. Each is built anew in place, and its clip goes on from its kept state.",
                    queries=(Query(expr=f"3600 * {rate(metrics.GANG_REBUILDS, by='reason')}", legend="{{reason}}"),),
                ),
                Panel(
                    title="Clips that went on from a kept state, an hour",
                    about="After a broken gang, a lost node or driver, or a pause.",
                    queries=(Query(expr=f"3600 * {rate(metrics.RESUMES, by='model')}", legend="{{model}}"),),
                ),
            ),
        ),
        Row(
            title="Work and clips that were lost",
            panels=(
                Panel(
                    title="Steps computed twice",
                    about="Share of all denoising steps. WANFARM_CHECKPOINT_STEPS and _S lower it.",
                    unit="percentunit",
                    steps=((None, "green"), (0.05, "orange"), (0.1, "red")),
                    queries=(Query(expr=LOST_SHARE, legend="{{model}}"),),
                ),
                Panel(
                    title="Clips given up, an hour",
                    about="Dead letters by class; `wanfarm status` and failed/ below the output have them.",
                    queries=(
                        Query(expr=f"3600 * {rate(metrics.DEAD_LETTERS, by='error_class')}", legend="{{error_class}}"),
                    ),
                ),
                Panel(
                    title="Share of clips given up",
                    about="Of those that ended.",
                    unit="percentunit",
                    steps=((None, "green"), (0.01, "orange"), (0.05, "red")),
                    queries=(Query(expr=FAILED_SHARE, legend="{{model}}"),),
                ),
                Panel(
                    title="Clips another worker had put first, an hour",
                    about="Their rendering was for nothing. Some after a lost driver are as they should be.",
                    queries=(Query(expr=f"3600 * {rate(metrics.PUBLISH_CONFLICTS)}", legend="conflicts"),),
                ),
            ),
        ),
        Row(
            title="Ray",
            panels=(
                Panel(
                    title="Nodes",
                    about="Alive in Ray's eyes, by kind.",
                    queries=(
                        Query(expr=f"sum by (cluster) (ray_cluster_active_nodes{{{HERE}}})", legend="{{cluster}}"),
                    ),
                ),
                Panel(
                    title="Actors that do not live yet, or again",
                    about="Restarting for minutes: a leader that cannot start its gang.",
                    queries=(
                        Query(
                            expr=f'sum by (State) (ray_actors{{{HERE},State=~"RESTARTING|PENDING_CREATION|'
                            'DEPENDENCIES_UNREADY",Source="gcs"})',
                            legend="{{State}}",
                        ),
                    ),
                ),
                Panel(
                    title="Placement groups",
                    about="One for each gang on several hosts; more are left of dead gangs and hold devices.",
                    queries=(
                        Query(
                            expr=f"sum by (State) (ray_gcs_placement_group_count{{{HERE}}})",
                            legend="{{State}}",
                        ),
                        Query(expr=total(metrics.GANGS), legend="gangs"),
                    ),
                ),
                Panel(
                    title="Memory of nodes in use",
                    about="Over 95 % Ray kills a worker.",
                    unit="percentunit",
                    max_value=1,
                    steps=((None, "green"), (0.85, "orange"), (0.95, "red")),
                    queries=(
                        Query(
                            expr=f"max by (NodeAddress) (ray_node_mem_used{{{HERE}}} / ray_node_mem_total{{{HERE}}})",
                            legend="{{NodeAddress}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
