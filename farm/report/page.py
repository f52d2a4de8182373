"""The page: numbers as HTML made here, cards as JSON that the page's own script shows a screenful at a time.

Nothing that a stranger wrote reaches the page but escaped: as HTML text, or in JSON without `<`, which the script
only ever sets as text. A content security policy admits that one script and no request beyond pictures and videos.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from farm.layout import record_path, strip_path, thumbnail_path
from farm.results import Row, Totals

# Bounds the page at some 10 MB. Faults come first: they are what one looks for; the rest is in the results.
MAX_CARDS = 20_000

MAX_TEXT = 600

# From OUT/runs/<run_id>/ to OUT.
UP = "../../"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the page says of the run as a whole. Times in seconds, of the driver's last start.

    `num_rendered` are the clips committed in that time, which the throughput is taken from.
    """

    run_id: str
    manifest_uri: str
    model_name: str
    finished_at: str
    wall_seconds: float
    num_rendered: int
    currency: str = ""


def render_page(rows: Iterable[Row], *, facts: RunFacts, totals: Totals, out_uri: str) -> str:
    """The whole page."""
    shown = _chosen(rows)
    style, script = _asset("style.css"), _asset("script.js")
    cards = [_card(row, out_uri=out_uri) for row in shown]
    num_rows = sum(totals.rows.values())
    return Template(_asset("page.html")).substitute(
        policy=_policy(script),
        style=style,
        script=script,
        title=html.escape(f"Run {facts.run_id[:8]}"),
        subtitle=_subtitle(facts),
        figures=_figures(facts, totals),
        filters=_filters(totals),
        stages=_table(("stage", "seconds", "per clip"), _stages(totals)),
        faults=_table(("fault", "rows"), [(name, str(count)) for name, count in _ranked(totals.errors)]),
        warnings=_table(("warning", "rows"), [(text, str(count)) for text, count in _ranked(totals.warnings)]),
        left_out=_left_out(len(cards), num_rows),
        cards=_json(cards),
    )


def _chosen(rows: Iterable[Row]) -> list[Row]:
    faulty: list[Row] = []
    fine: list[Row] = []
    for row in rows:
        kind = faulty if row["status"] in ("failed", "rejected") else fine
        if len(kind) < MAX_CARDS:
            kind.append(row)
    chosen = faulty + fine[: MAX_CARDS - len(faulty)]
    return sorted(chosen, key=lambda row: int(row["row"]))


def _card(row: Row, *, out_uri: str) -> dict[str, Any]:
    card: dict[str, Any] = {"row": row["row"], "status": row["status"]}
    card.update(
        {name: row[name] for name in ("id", "clip_id", "error_class", "worker", "seed") if row[name] is not None}
    )
    for name in ("prompt", "error"):
        if row[name]:
            card[name] = row[name] if len(row[name]) <= MAX_TEXT else row[name][:MAX_TEXT] + " …"
    if row["warnings"]:
        card["warnings"] = row["warnings"]
    if row["num_frames"]:
        card["shape"] = f"{row['width']}×{row['height']}, {row['num_frames']} frames at {row['fps']} fps"
        card["ratio"] = f"{row['width']} / {row['height']}"
    if row["status"] == "committed":
        card.update(_media(row, out_uri=out_uri))
    if row["status"] == "failed":
        card["retry"] = f"--clip {row['clip_id']} --here"
    return card


def _media(row: Row, *, out_uri: str) -> dict[str, Any]:
    clip_id = row["clip_id"]
    return {
        "video": UP + row["uri"].removeprefix(out_uri).lstrip("/"),
        "poster": UP + thumbnail_path(clip_id),
        "strip": UP + strip_path(clip_id),
        "record": UP + record_path(clip_id),
        "seconds": round(sum(row["seconds"].values()), 2),
    }


def _subtitle(facts: RunFacts) -> str:
    parts = (f"model {facts.model_name}", f"manifest {facts.manifest_uri}", f"finished {facts.finished_at}")
    return " · ".join(html.escape(part) for part in parts)


def _figures(facts: RunFacts, totals: Totals) -> str:
    figures = [("committed", f"{totals.rows['committed']:,}"), ("clips", f"{totals.num_clips:,}")]
    figures += [(status, f"{count:,}") for status, count in totals.rows.items() if count and status != "committed"]
    figures += [
        ("of video", _duration(totals.video_seconds)),
        ("on disk", _size(totals.size_bytes)),
        ("device time", _duration(totals.device_seconds)),
    ]
    if totals.cost is not None:
        figures.append(("cost", f"{totals.cost:,.2f} {facts.currency}".strip()))
    if facts.num_rendered and facts.wall_seconds > 0:
        figures.append(("clips a minute", f"{60 * facts.num_rendered / facts.wall_seconds:,.1f}"))
        figures.append((f"for {facts.num_rendered:,} rendered last", _duration(facts.wall_seconds)))
    items = (f"<div><dd>{html.escape(value)}</dd><dt>{html.escape(name)}</dt></div>" for name, value in figures)
    return "".join(items)


def _filters(totals: Totals) -> str:
    counts = {"all": sum(totals.rows.values())} | {str(status): count for status, count in totals.rows.items()}
    return "".join(
        f'<button type="button" data-status="{name}" aria-pressed="{"true" if name == "all" else "false"}">'
        f"{name} <span>{count:,}</span></button>"
        for name, count in counts.items()
        if count or name == "all"
    )


def _stages(totals: Totals) -> list[Sequence[str]]:
    clips = max(1, totals.num_clips)
    return [(name, f"{total:,.1f}", f"{total / clips:,.2f}") for name, total in totals.stage_seconds.items()]


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _left_out(num_cards: int, num_rows: int) -> str:
    if num_cards == num_rows:
        return ""
    return (
        f'<p class="note">Shown are {num_cards:,} of {num_rows:,} rows, all faults first; the rest is in results/.</p>'
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.1f} min" if minutes < 90 else f"{hours:,.1f} h"


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.1f} TB"


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Inside <script> only these could end it or begin a comment; in JSON they can be written otherwise.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    beside = "'self' file: https: http:"
    return (
        f"default-src 'none'; img-src {beside}; media-src {beside}; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return importlib.resources.files("farm.report").joinpath(name).read_text(encoding="utf-8")
