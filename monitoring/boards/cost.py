"""What clips cost, in devices' time and in money by the table of prices (WANFARM_PRICES)."""

from __future__ import annotations

from farm import metrics
from monitoring.expressions import CHOSEN, rate, selected, total
from monitoring.panels import Dashboard, Panel, Query, Row

COMMITTED = 'status="committed"'
LONG = "$__range"


def over(window: str, *, by: str) -> str:
    """What was spent in that time."""
    return f"sum by ({by}) (increase({selected(metrics.COST)}[{window}]))"


def clips_in(window: str, *, by: str) -> str:
    """Clips that were committed in that time."""
    return f"sum by ({by}) (increase({selected(metrics.CLIPS, COMMITTED)}[{window}]))"


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
                    decimals=4,
                    queries=(Query(expr=over(LONG, by="currency"), legend="{{currency}}"),),
                ),
                Panel(
                    title="A clip, by model",
                    about="Money over committed clips.",
                    kind="stat",
                    width=6,
                    height=5,
                    decimals=6,
                    queries=(
                        Query(
                            expr=f"{over(LONG, by='model, currency')} / on (model) group_left () "
                            f"{clips_in(LONG, by='model')}",
                            legend="{{model}} {{currency}}",
                        ),
                    ),
                ),
                Panel(
                    title="A second of video, by model",
                    about="Money over playing time.",
                    kind="stat",
                    width=6,
                    height=5,
                    decimals=6,
                    queries=(
                        Query(
                            expr=f"{over(LONG, by='model, currency')} / on (model) group_left () "
                            f"sum by (model) (increase({selected(metrics.VIDEO_SECONDS)}[{LONG}]))",
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
                        Query(
                            expr=f"sum by (model) (increase({selected(metrics.DEVICE_SECONDS)}[{LONG}])) / "
                            f"{clips_in(LONG, by='model')}",
                            legend="{{model}}",
                        ),
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
                            expr=f"{rate(metrics.DEVICE_SECONDS, by='model')} / "
                            f"{rate(metrics.VIDEO_SECONDS, by='model')}",
                            legend="{{model}}",
                        ),
                    ),
                ),
                Panel(
                    title="A clip, by model",
                    about="Money over committed clips, each time of the hour before.",
                    decimals=6,
                    queries=(
                        Query(
                            expr="model:farm_cost:per_clip{" + CHOSEN + "}",
                            legend="{{model}} {{currency}}",
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
