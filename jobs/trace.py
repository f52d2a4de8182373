"""`wanfarm trace`: when each gang was at which clip, as a file for Perfetto or chrome://tracing, from storage alone."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from farm.errors import OutputError, UsageError
from farm.settings import Settings
from farm.storage import Storage
from farm.timeline import clip_times, clips_of_run, incidents
from farm.trace_events import write_trace
from jobs.control import chosen_card
from jobs.opening import existing_output
from jobs.printing import counted, say


def trace_output(out_uri: str, *, run_id: str | None, is_all: bool, file: str | None) -> int:
    """0. UsageError where it is not clear which run is meant, or nothing of it has begun."""
    if is_all and run_id is not None:
        raise UsageError("trace takes either --run ID or --all")
    out = existing_output(out_uri, Settings.from_env())
    name, clip_ids = ("all", None) if is_all else _clips(out, run_id)
    path = Path(file or f"trace-{name}.json")
    with _written(path) as sink:
        about = {"out": out.uri} if is_all else {"out": out.uri, "run_id": name}
        drawn = write_trace(sink, clip_times(out, clip_ids), incidents(out, clip_ids), about=about)
    made = f"{counted(drawn.num_clips, 'slice')} of clips on {counted(drawn.num_gangs, 'gang')}"
    say([f"{path}: {made}, {counted(drawn.num_incidents, 'failure')}; open it at ui.perfetto.dev or chrome://tracing"])
    if drawn.num_estimated:
        say([f"of {counted(drawn.num_estimated, 'clip')} the beginning is an estimate: their records are older"])
    return 0


def _clips(out: Storage, run_id: str | None) -> tuple[str, set[str]]:
    card = chosen_card(out, run_id)
    return card.run_id, clips_of_run(out, card.run_id)


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    """The file's text, packed where its name says so; whole or not there."""
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        with gzip.open(part, "wt") if path.suffix == ".gz" else part.open("w") as sink:
            yield sink
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
