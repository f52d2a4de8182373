"""`wanfarm retry`: clips that were given up, once more; with `--here` by this command alone, without Ray."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from farm.control import refuse_if_cancelled
from farm.cost import Tally, cost_of
from farm.degrees import Demand
from farm.errors import UsageError
from farm.layout import run_folder
from farm.ledger import (
    DeadLetter,
    RunLease,
    clear_attempts,
    clear_failure,
    read_failure,
    read_failures,
    read_record,
)
from farm.models import chosen_model
from farm.parallelism import ParallelPlan, Wanted
from farm.run_facts import read_card
from farm.segments import SCHEMA
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage import Storage
from jobs import progress
from jobs.calls import Execution
from jobs.here import Bench
from jobs.opening import existing_output
from jobs.printing import counted, say
from jobs.running import drive_segments, finish_run, stoppable
from jobs.signals import Drain


def retry_clips(out_uri: str, *, clip_id: str | None, here: bool, execution: Execution) -> int:
    """0 where all of them are committed now, 1 where some failed again. UsageError where there is no such letter."""
    settings = Settings.from_env()
    out = existing_output(out_uri, settings)
    letters = list(read_failures(out)) if clip_id is None else [_letter(out, clip_id)]
    if not letters:
        say(["no clip was given up"])
        return 0
    if here:
        return max(_retry_here(out, letter, settings, execution) for letter in letters)
    by_run: defaultdict[str, list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        by_run[letter.run_id].append(letter)

    def retry_all(drain: Drain) -> int:
        return max(_retry_run(out, run_id, own, settings, execution, drain) for run_id, own in by_run.items())

    return stoppable(retry_all, execution)


def _letter(out: Storage, clip_id: str) -> DeadLetter:
    letter = read_failure(out, clip_id)
    if letter is None:
        done = read_record(out, clip_id) is not None
        raise UsageError(f"clip {clip_id} {'is committed' if done else 'was never given up'} in {out.uri}")
    return letter


def _retry_here(out: Storage, letter: DeadLetter, settings: Settings, execution: Execution) -> int:
    spec = ClipSpec.from_json(letter.row["spec"])
    threads = execution.threads or settings.threads or 1
    bench = Bench(
        out,
        settings,
        spec=spec,
        model_path=letter.row["model"],
        threads=threads,
        like=letter.execution,
        parallel=_asked_for(execution.degrees.wanted),
    )
    job = bench.job(spec, run_id=letter.run_id, row=letter.row["row"], name=letter.row["id"])
    clear_attempts(out, letter.clip_id)
    with bench.renderer() as renderer:
        outcome = renderer.render(job)
    if outcome.status != "failed":
        clear_failure(out, letter.clip_id)
        say([f"clip {letter.clip_id}: {outcome.status}"])
        return 0
    again = read_failure(out, letter.clip_id)
    say([again.traceback if again else "", f"clip {letter.clip_id} failed: {outcome.error_class}: {outcome.message}"])
    return 1


def _asked_for(wanted: Wanted) -> ParallelPlan | None:
    if wanted.ulysses_degree is None and wanted.cfg_degree is None:
        return None
    return ParallelPlan(ulysses_degree=wanted.ulysses_degree or 1, cfg_degree=wanted.cfg_degree or 1)


def _retry_run(
    out: Storage, run_id: str, letters: Sequence[DeadLetter], settings: Settings, execution: Execution, drain: Drain
) -> int:
    begun_s = time.monotonic()
    refuse_if_cancelled(out, run_id)
    with RunLease(out, run_id) as lease:
        segments = _write_segments(out, f"{run_folder(run_id)}/plan/retry-{lease.epoch:08d}", letters)
        for letter in letters:
            clear_attempts(out, letter.clip_id)
            clear_failure(out, letter.clip_id)
        driven = drive_segments(
            out,
            lease,
            segments,
            settings=settings,
            execution=execution,
            tally=progress.Tally(total=len(letters), done=0, failed=0),
            drain=drain,
            demands=_demands(letters, settings),
        )
        for path in segments:
            out.delete(path)
        card = read_card(out, run_id)
        if card is not None:
            finish_run(out, card, settings=settings, begun_s=begun_s, driven=driven)
    num_failed = driven.num_failed
    say([f"run {run_id}: {counted(len(letters), 'clip')} tried again, {num_failed} failed again"])
    return 1 if num_failed else 0


def _demands(letters: Sequence[DeadLetter], settings: Settings) -> list[Demand]:
    """What the clips ask of a gang, per model."""
    tallies: dict[str, Tally] = {}
    for letter in letters:
        path = str(letter.row["model"])
        if path not in tallies:
            tallies[path] = Tally(card=chosen_model(path, settings).card)
        tally = tallies[path]
        tally.add(cost_of(ClipSpec.from_json(letter.row["spec"]), tally.card))
    return [tally.demand for tally in tallies.values()]


def _write_segments(out: Storage, stem: str, letters: Sequence[DeadLetter]) -> list[str]:
    """Segments as the planner writes them, one per model."""
    by_model: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
    for letter in letters:
        row = {name: letter.row.get(name) for name in ("row", "id", "model", "model_name", "spec")}
        by_model[letter.row["model"]].append(row | {"clip_id": letter.clip_id})
    paths = []
    for number, rows in enumerate(by_model.values()):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink)
        paths.append(f"{stem}-{number}.parquet")
        out.replace(paths[-1], sink.getvalue().to_pybytes())
    return paths
