"""What clips cost, in devices' time and in money by the table of prices (WANFARM_PRICES)."""

from __future__ import annotations

from farm import metrics
from monitoring.expressions import CHOSEN, rate, ratio, total, within
from monitoring.panels import Dashboard, Panel, Query, Row

COMMITTED = 'status="committed"'
LONG = "$__range"
BY_MODEL = "on (model) group_left () "
SPENT = within(LONG, metrics.COST, by="model, currency")
CLIPS = within(LONG, metrics.CLIPS, COMMITTED, by="model")


BOARD = Dashboard(
    uid="wanfarm-cost",
    title="wanfarm / Cost",
    about="What clips cost, in devices' time and in money by the table of prices. Time in which devices are up and "
    "idle is nobody's clip and not in it: see the share of devices at work.",
    rows=(
        Row(
            title="In the chosen time",
            panels=(
                Panel(
                    title="Spent on clips",
                    about="By currency of the price table.",
                    kind="stat",
                    width=6,
                    height=5,
                    queries=(Query(expr=within(LONG, metrics.COST, by="currency"), legend="{{currency}}"),),
                ),
                Panel(
                    title="A clip, by model",
                    about="Money over committed clips.",
                    kind="stat",
                    width=6,
                    height=5,
                    queries=(Query(expr=ratio(SPENT, CLIPS, matching=BY_MODEL), legend="{{model}} {{currency}}"),),
                ),
                Panel(
                    title="A second of video, by model",
                    about="Money over playing time.",
                    kind="stat",
                    width=6,
                    height=5,
                    queries=(
                        Query(
                            expr=ratio(SPENT, within(LONG, metrics.VIDEO_SECONDS, by="model"), matching=BY_MODEL),
                            legend="{{model}} {{currency}}",
                        ),
                    ),
                ),
                Panel(
                    title="Device-seconds of a clip, by model",
                    about="All ranks of its gang, what was lost of it not included.",
                    kind="stat",
                    unit="s",
                    width=6,
                    height=5,
                    decimals=2,
                    queries=(
                        Query(expr=ratio(within(LONG, metrics.DEVICE_SECONDS, by="model"), CLIPS), legend="{{model}}"),
                    ),
                ),
            ),
        ),
        Row(
            title="As it goes",
            panels=(
                Panel(
                    title="Money an hour, by model",
                    about="Of clips that were committed; long ones count when they end.",
                    is_stacked=True,
                    queries=(
                        Query(
                            expr=f"3600 * {rate(metrics.COST, by='model, currency')}", legend="{{model}} {{currency}}"
                        ),
                    ),
                ),
                Panel(
                    title="Device-seconds a second, by kind of device",
                    about="How many devices' time goes into clips.",
                    is_stacked=True,
                    queries=(Query(expr=rate(metrics.DEVICE_SECONDS, by="device"), legend="{{device}}"),),
                ),
                Panel(
                    title="Device-seconds for a second of video",
                    about="By model: 1 would be as fast as it plays, on one device.",
                    queries=(
                        Query(
                            expr=ratio(
                                rate(metrics.DEVICE_SECONDS, by="model"), rate(metrics.VIDEO_SECONDS, by="model")
                            ),
                            legend="{{model}}",
                        ),
                    ),
                ),
                Panel(
                    title="A clip, by model",
                    about="Money over committed clips, in the hour before.",
                    queries=(
                        Query(
                            expr="model:farm_cost:per_clip{" + CHOSEN + "}",
                            legend="{{cluster}} {{model}} {{currency}}",
                        ),
                    ),
                ),
                Panel(
                    title="Paid for and not at work",
                    about="Devices of gangs that start or have nothing to do.",
                    is_stacked=True,
                    queries=(Query(expr=total(metrics.DEVICES, 'state!="rendering"', by="state"), legend="{{state}}"),),
                ),
                Panel(
                    title="Share of the budget of thirty days",
                    about="The alerts' own sums: farm:cost:30d over the budget that monitoring/tuning.py sets.",
                    unit="percentunit",
                    steps=((None, "green"), (0.8, "orange"), (1, "red")),
                    queries=(
                        Query(
                            expr="sum by (currency) (farm:cost:30d) / on (currency) farm:budget:30d",
                            legend="{{currency}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
