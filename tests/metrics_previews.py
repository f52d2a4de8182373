"""A dashboard drawn as Grafana would lay it out, from the data of a farm that ran."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator
from metrics_asked import Answer
from services.prometheus import STEP_S, Curve

from monitoring.panels import COLUMNS, Panel

mpl.use("Agg")

INK, PAPER, CARD, GRID, MUTED = "#d8d9da", "#111217", "#181b1f", "#2c3235", "#8e9296"
PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#fa6400", "#56a64b", "#c0d8ff")
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
INCHES_PER_COLUMN, INCHES_PER_UNIT = 0.62, 0.31
MAX_LEGEND = 6
TIMED = "time"


def draw(answers: Sequence[Answer], path: Path) -> None:
    """All panels of one dashboard, as WebP."""
    board = answers[0].board
    by_panel: dict[int, list[Answer]] = {}
    for answer in answers:
        by_panel.setdefault(id(answer.panel), []).append(answer)
    places = [
        panel["gridPos"] | {"title": panel["title"], "type": panel["type"]} for panel in board.to_json()["panels"]
    ]
    height = max(place["y"] + place["h"] for place in places) + 2
    figure = plt.figure(figsize=(COLUMNS * INCHES_PER_COLUMN, height * INCHES_PER_UNIT), facecolor=PAPER, dpi=110)
    figure.text(0.012, 1 - 0.9 / height, board.title, color=INK, fontsize=15, weight="bold", va="center")
    panels = iter(board.panels)
    for place in places:
        bottom = 1 - (place["y"] + 2 + place["h"]) / height
        if place["type"] == "row":
            figure.text(0.012, bottom + 0.4 / height, f"▾ {place['title']}", color=INK, fontsize=11, va="center")
            continue
        box = (place["x"] / COLUMNS, bottom, place["w"] / COLUMNS, place["h"] / height)
        panel = next(panels)
        _panel(figure, panel, by_panel[id(panel)], box, pixels=height)
    span = [mdates.date2num(at) for at in _dates(_span(answers))]
    for axes in figure.axes:
        if axes.get_gid() == TIMED and axes.dataLim.x1 > span[0]:
            axes.set_xlim(*span)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=PAPER, pil_kwargs={"quality": 80, "method": 6})
    plt.close(figure)


def _panel(figure: Any, panel: Panel, answers: Sequence[Answer], box: tuple[float, ...], *, pixels: float) -> None:
    x, y, width, height = box
    gap = 0.003
    card = figure.add_axes((x + gap, y + gap, width - 2 * gap, height - 2 * gap), facecolor=CARD)
    card.set_xticks([])
    card.set_yticks([])
    for spine in card.spines.values():
        spine.set_color(GRID)
    figure.text(x + 0.008, y + height - 0.75 / pixels, panel.title, color=INK, fontsize=9, weight="bold", va="center")
    curves = [(label_of(answer, curve), curve) for answer in answers for curve in answer.curves]
    if not curves:
        reasons = {answer.query.why_empty for answer in answers if answer.query.why_empty}
        card.text(0.5, 0.45, f"no data: {'; '.join(sorted(reasons))}", color=MUTED, ha="center", fontsize=9)
        return
    low = 2.2 if panel.kind == "timeseries" else 1.2
    inner = (x + 0.035, y + low / pixels, width - 0.05, height - (low + 1.5) / pixels)
    if panel.kind == "stat":
        _stat(card, panel, curves)
    elif panel.kind == "bargauge":
        _bars(figure.add_axes((x + 0.01, inner[1], width - 0.02, inner[3]), facecolor=CARD), panel, curves)
    elif panel.kind == "heatmap":
        _heatmap(figure.add_axes(inner, facecolor=CARD), panel, curves)
    else:
        _lines(figure.add_axes(inner, facecolor=CARD), panel, curves)


def _lines(axes: Any, panel: Panel, curves: Sequence[tuple[str, Curve]]) -> None:
    _style(axes, panel)
    times, table = _table([curve for _, curve in curves])
    bottom, drawn = np.zeros_like(table), table
    if panel.is_stacked:
        table = np.cumsum(np.nan_to_num(table), axis=0)
        bottom[1:] = table[:-1]
        drawn = np.where(table > bottom, table, np.nan)  # what is nothing has no line on top of others
    for number, (name, _) in enumerate(curves):
        colour = PALETTE[number % len(PALETTE)]
        axes.plot(times, drawn[number], color=colour, linewidth=1.1, label=name or "value")
        opacity = 0.35 if panel.is_stacked else 0.08
        axes.fill_between(times, bottom[number], table[number], color=colour, alpha=opacity, linewidth=0)
    top = float(np.nanmax(table))
    axes.set_ylim(0, panel.max_value if panel.max_value and top <= panel.max_value else (top * 1.1 or 1))
    handles = axes.get_lines()[:MAX_LEGEND]
    for bound, colour in panel.steps[1:]:
        axes.axhline(bound, color=NAMED[colour], linewidth=0.8, linestyle="--")
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.03, -0.12), ncol=3, fontsize=7,
        frameon=False, labelcolor=INK, handlelength=1.2, columnspacing=1.0, borderaxespad=0,
    )  # fmt: skip


def _heatmap(axes: Any, panel: Panel, curves: Sequence[tuple[str, Curve]]) -> None:
    _style(axes, panel)
    bounds = sorted(((math.inf if name == "+Inf" else float(name), curve) for name, curve in curves), key=itemgetter(0))
    times, cumulative = _table([curve for _, curve in bounds])
    counts = np.diff(np.nan_to_num(cumulative), axis=0, prepend=0)
    used = np.flatnonzero(counts.sum(axis=1) > 1e-9)
    first, last = max(0, used.min() - 1), used.max() + 1
    shown = np.ma.masked_less(counts[first : last + 1], 1e-9)
    axes.pcolormesh(times, range(first, last + 1), shown, cmap="YlOrBr_r", vmin=-shown.max() / 2, shading="nearest")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    names = [value(bound, "s") for bound, _ in bounds]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: names[int(y)] if 0 <= y < len(names) else ""))


def _stat(card: Any, panel: Panel, curves: Sequence[tuple[str, Curve]]) -> None:
    shown = curves[:3]
    for number, (name, curve) in enumerate(shown):
        last = curve.samples[-1][1]
        y = 0.42 if len(shown) == 1 else 0.66 - 0.26 * number
        size = 22 if len(shown) == 1 else 14
        text = value(last, panel.unit, decimals=panel.decimals)
        card.text(0.5, y, text, color=_colour(panel, last), fontsize=size, ha="center", va="center", weight="bold")
        if name:
            card.text(0.5, y - (0.2 if len(shown) == 1 else 0.12), name, color=MUTED, fontsize=6.5, ha="center")


def _bars(axes: Any, panel: Panel, curves: Sequence[tuple[str, Curve]]) -> None:
    axes.axis("off")
    values = [curve.samples[-1][1] for _, curve in curves]
    most = panel.max_value or max(values) * 1.1
    axes.set_xlim(0, most)
    axes.set_ylim(-0.5, max(2, len(values)) - 0.2)
    axes.barh(range(len(values)), most, color=GRID, height=0.35)
    axes.barh(range(len(values)), values, color=[_colour(panel, one) for one in values], height=0.35)
    for place, ((name, _), one) in enumerate(zip(curves, values, strict=True)):
        axes.text(0, place + 0.35, name, color=MUTED, fontsize=6.5, va="center")
        axes.text(most, place + 0.35, value(one, panel.unit), color=INK, fontsize=9, ha="right", va="center")


def label_of(answer: Answer, curve: Curve) -> str:
    """The legend with the curve's labels in it."""
    text = answer.query.legend
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: curve.labels.get(found[1], ""), text)


def value(number: float, unit: str, *, decimals: int | None = None) -> str:
    """As Grafana would put it, roughly."""
    if math.isinf(number):
        return "more"
    if unit == "percentunit":
        return f"{100 * number:.3g} %"
    if unit == "percent":
        return f"{number:.3g} %"
    if unit == "s":
        if number >= 3600:
            return f"{number / 3600:.3g} h"
        if number >= 60:
            return f"{number / 60:.3g} min"
        return f"{number:.3g} s" if number >= 1 or number == 0 else f"{1000 * number:.3g} ms"
    if decimals is not None:
        return f"{number:.{decimals}f}"
    return np.format_float_positional(number, precision=3, fractional=False, trim="-")


def _style(axes: Any, panel: Panel) -> None:
    axes.set_gid(TIMED)
    axes.tick_params(colors=MUTED, labelsize=7, length=0)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: value(y, panel.unit)))
    axes.xaxis.set_major_locator(mdates.AutoDateLocator(minticks=3, maxticks=6))
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%H:%M:%S"))


def _span(answers: Sequence[Answer]) -> tuple[float, float]:
    """What a person would zoom to: from where half of the panels have data to the end."""
    ends = [(curve.samples[0][0], curve.samples[-1][0]) for answer in answers for curve in answer.curves]
    return median(first for first, _ in ends), max(last for _, last in ends)


def _table(curves: Sequence[Curve]) -> tuple[list[datetime], Any]:
    """Times, the same for all, and a row for each; NaN where one has no sample."""
    first = min(curve.samples[0][0] for curve in curves)
    last = max(curve.samples[-1][0] for curve in curves)
    times = np.arange(first, last + STEP_S / 2, STEP_S)
    table = np.full((len(curves), len(times)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        at, values = zip(*curve.samples, strict=True)
        row[np.rint((np.array(at) - first) / STEP_S).astype(int)] = values
    return _dates(times), table


def _dates(times: Any) -> list[datetime]:
    return [datetime.fromtimestamp(float(at), UTC) for at in times]


def _colour(panel: Panel, number: float) -> str:
    reached = [colour for bound, colour in panel.steps if bound is None or number >= bound]
    return NAMED[reached[-1]]
