"""What gangs do, what breaks them, and what that costs."""

from __future__ import annotations

from farm import metrics
from monitoring.expressions import HERE, ratio, total, within
from monitoring.panels import Dashboard, Panel, Query, Row

HOUR = "1h"
# Over less than an hour, steps that are lost all at once would be many times those that were done meanwhile.
LOST_SHARE = ratio(within(HOUR, metrics.LOST_STEPS, by="model"), within(HOUR, metrics.DENOISE_STEPS, by="model"))
FAILED, ENDED = 'status="failed"', 'status=~"committed|failed"'
FAILED_SHARE = ratio(within(HOUR, metrics.CLIPS, FAILED, by="model"), within(HOUR, metrics.CLIPS, ENDED, by="model"))

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
                    title="Gangs that broke in the hour before",
                    about="By what broke them. Each is built anew in place, and its clip goes on from its kept state.",
                    queries=(Query(expr=within(HOUR, metrics.GANG_REBUILDS, by="reason"), legend="{{reason}}"),),
                ),
                Panel(
                    title="Clips that went on from a kept state in the hour before",
                    about="After a broken gang, a lost node or driver, or a pause.",
                    queries=(Query(expr=within(HOUR, metrics.RESUMES, by="model"), legend="{{model}}"),),
                ),
            ),
        ),
        Row(
            title="Work and clips that were lost",
            panels=(
                Panel(
                    title="Steps computed twice",
                    about="Share of the denoising steps of the hour before. WANFARM_CHECKPOINT_STEPS and _S lower it.",
                    width=6,
                    unit="percentunit",
                    steps=((None, "green"), (0.05, "orange"), (0.1, "red")),
                    queries=(Query(expr=LOST_SHARE, legend="{{model}}"),),
                ),
                Panel(
                    title="Clips given up in the hour before",
                    about="Dead letters by class; `wanfarm status` and failed/ below the output have them.",
                    width=6,
                    queries=(
                        Query(expr=within(HOUR, metrics.DEAD_LETTERS, by="error_class"), legend="{{error_class}}"),
                    ),
                ),
                Panel(
                    title="Share of clips given up",
                    about="Of those that ended in the hour before.",
                    width=6,
                    unit="percentunit",
                    steps=((None, "green"), (0.01, "orange"), (0.05, "red")),
                    queries=(Query(expr=FAILED_SHARE, legend="{{model}}"),),
                ),
                Panel(
                    title="Clips put first by others, in the hour before",
                    about="Rendered here for nothing. Some after a lost driver are as they should be.",
                    width=6,
                    queries=(Query(expr=within(HOUR, metrics.PUBLISH_CONFLICTS), legend="conflicts"),),
                ),
            ),
        ),
        Row(
            title="Ray",
            panels=(
                Panel(
                    title="Nodes",
                    about="Alive in Ray's eyes, by cluster.",
                    width=6,
                    queries=(
                        Query(expr=f"sum by (cluster) (ray_cluster_active_nodes{{{HERE}}})", legend="{{cluster}}"),
                    ),
                ),
                Panel(
                    title="Actors that do not live yet, or again",
                    about="Restarting for minutes: a leader that cannot start its gang.",
                    width=6,
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
                    width=6,
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
                    width=6,
                    unit="percentunit",
                    max_value=1,
                    steps=((None, "green"), (0.85, "orange"), (0.95, "red")),
                    queries=(
                        Query(
                            expr=f"max by (cluster, ip) (ray_node_mem_used{{{HERE}}} / ray_node_mem_total{{{HERE}}})",
                            legend="{{cluster}} {{ip}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
