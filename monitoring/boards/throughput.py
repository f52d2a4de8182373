"""How much comes out, how busy the devices are, and when a run will be done."""

from __future__ import annotations

from farm import metrics
from monitoring.expressions import HERE, rate, ratio, selected, total
from monitoring.panels import Dashboard, Panel, Query, Row

COMMITTED = 'status="committed"'
RENDERING = 'state="rendering"'
NO_GPU = "only machines with GPUs have it"
SPARE = ((None, "red"), (0.5, "orange"), (0.8, "green"))

UTILISATION = ratio(total(metrics.DEVICES, RENDERING), total(metrics.DEVICES))
RUN_ENDED = f"({selected(metrics.RUN_DONE)} + {selected(metrics.RUN_FAILED)})"

BOARD = Dashboard(
    uid="wanfarm-throughput",
    title="wanfarm / Throughput",
    about="How much video comes out, how busy the devices are, and when runs will be done.",
    rows=(
        Row(
            title="Now",
            panels=(
                Panel(
                    title="Clips a minute",
                    about="Committed clips, batch and online.",
                    kind="stat",
                    width=4,
                    height=5,
                    decimals=1,
                    queries=(Query(expr=f"60 * {rate(metrics.CLIPS, COMMITTED)}"),),
                ),
                Panel(
                    title="Frames a second",
                    about="Of committed clips.",
                    kind="stat",
                    width=4,
                    height=5,
                    decimals=1,
                    queries=(Query(expr=rate(metrics.FRAMES)),),
                ),
                Panel(
                    title="Video an hour",
                    about="Playing time of what an hour of rendering makes.",
                    kind="stat",
                    unit="s",
                    width=4,
                    height=5,
                    queries=(Query(expr=f"3600 * {rate(metrics.VIDEO_SECONDS)}"),),
                ),
                Panel(
                    title="Devices at work",
                    about="Share of the gangs' devices whose gang is rendering. The rest waits: for weights, for text "
                    "states, for work.",
                    kind="stat",
                    unit="percentunit",
                    width=4,
                    height=5,
                    max_value=1,
                    steps=SPARE,
                    queries=(Query(expr=UTILISATION),),
                ),
                Panel(
                    title="Time left",
                    about="Of each run that exports itself (--metrics-port), at its speed of the last ten minutes.",
                    kind="stat",
                    unit="s",
                    width=4,
                    height=5,
                    queries=(Query(expr=selected(metrics.RUN_ETA_SECONDS), legend="{{manifest}} {{run}}"),),
                ),
                Panel(
                    title="Done",
                    about="Share of each run's clips that ended, failed ones included.",
                    kind="bargauge",
                    unit="percentunit",
                    width=4,
                    height=5,
                    max_value=1,
                    queries=(Query(expr=ratio(RUN_ENDED, selected(metrics.RUN_CLIPS)), legend="{{manifest}} {{run}}"),),
                ),
            ),
        ),
        Row(
            title="What comes out",
            panels=(
                Panel(
                    title="Clips a minute, by what became of them",
                    about="existing: the ledger had it. lost: another worker was first. failed: a dead letter.",
                    queries=(Query(expr=f"60 * {rate(metrics.CLIPS, by='status')}", legend="{{status}}"),),
                ),
                Panel(
                    title="Frames a second, by model",
                    about="Of committed clips.",
                    queries=(Query(expr=rate(metrics.FRAMES, by="model"), legend="{{model}}"),),
                ),
                Panel(
                    title="Denoising steps a second, by model",
                    about="The work itself: it goes on while clips of many minutes are in the making.",
                    queries=(Query(expr=rate(metrics.DENOISE_STEPS, by="model"), legend="{{model}}"),),
                ),
            ),
        ),
        Row(
            title="Devices",
            panels=(
                Panel(
                    title="Devices, by what their gang does",
                    about="starting: ranks come up and load weights. idle: nothing to render.",
                    is_stacked=True,
                    queries=(Query(expr=total(metrics.DEVICES, by="state"), legend="{{state}}"),),
                ),
                Panel(
                    title="GPU utilisation, by node",
                    about="What the driver says, averaged over a node's GPUs; it says not whose the work is.",
                    unit="percent",
                    max_value=100,
                    queries=(
                        Query(
                            expr=f"avg by (cluster, ip) (ray_node_gpus_utilization{{{HERE}}})",
                            legend="{{cluster}} {{ip}}",
                            why_empty=NO_GPU,
                        ),
                    ),
                ),
                Panel(
                    title="CPU utilisation, by node",
                    about="Of all processes on the node.",
                    unit="percent",
                    max_value=100,
                    queries=(
                        Query(
                            expr=f"avg by (cluster, ip) (ray_node_cpu_utilization{{{HERE}}})",
                            legend="{{cluster}} {{ip}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            title="Runs",
            panels=(
                Panel(
                    title="Clips left",
                    about="Of each run; it should go down in a straight line.",
                    width=12,
                    queries=(
                        Query(
                            expr=f"{selected(metrics.RUN_CLIPS)} - {RUN_ENDED}",
                            legend="{{manifest}} {{run}}",
                        ),
                    ),
                ),
                Panel(
                    title="Time left",
                    about="At the speed of the last ten minutes.",
                    unit="s",
                    width=12,
                    queries=(Query(expr=selected(metrics.RUN_ETA_SECONDS), legend="{{manifest}} {{run}}"),),
                ),
            ),
        ),
    ),
)
