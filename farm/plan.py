"""The plan of a run: which rows are clips, which of those remain, in which order they are made and what that costs.

A run's folder holds what the driver works from: plan/part-*.parquet (the clips that remain; `farm.segments.SCHEMA`),
rows.parquet (every admitted row with its clip) and rejected.parquet (every other row with its faults).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.admission import Admission, Admitted, usable
from farm.calibration import Calibration, read_calibration
from farm.cost import ClipCost, Estimate, Fleet, Tally, clip_seconds, cost_of, estimate
from farm.degrees import Demand
from farm.errors import ManifestError
from farm.files import Files
from farm.inputs import InputChecker
from farm.layout import rows_path, run_folder
from farm.ledger import committed_ids, failed_ids
from farm.manifest import Manifest, open_manifest
from farm.models import ModelRef
from farm.row_files import RowFiles
from farm.segments import Group, Spool, group_of
from farm.settings import Settings
from farm.spec import RENDER_VERSION, DType, RenderOptions
from farm.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run before it starts.

    Rows: `num_rows` = admitted + `num_rejected`. Clips: `num_clips` (distinct) = `num_done` + `num_failed` +
    `num_remaining`. Paths are below OUT and empty where nothing was published. `warnings` counts rows.
    """

    run_id: str
    manifest_uri: str
    manifest_sha256: str
    model: ModelRef
    options: RenderOptions
    num_rows: int
    num_rejected: int
    num_clips: int
    num_done: int
    num_failed: int
    num_remaining: int
    warnings: Mapping[str, int]
    rejected: tuple[tuple[int, str | None, tuple[str, ...]], ...]  # the first few: row, id, faults
    estimate: Estimate
    fleet: Fleet
    demands: tuple[Demand, ...]
    segments: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The run's folder below OUT."""
        return run_folder(self.run_id)

    @property
    def rows_path(self) -> str:
        """Every admitted row: row, id, clip_id, seed, sizes, warnings, tags and kept columns."""
        return rows_path(self.run_id)

    @property
    def rejected_path(self) -> str:
        """Every rejected row: row, id, faults and the request as it was."""
        return f"{self.folder}/rejected.parquet"


def run_id_of(manifest_sha256: str, options: RenderOptions, *, fingerprint: str, dtype: DType) -> str:
    """16 hex characters: the same manifest, model and flags that change pixels are the same run.

    The model is told by its fingerprint and by its own precision, which counts where the options name none.
    """
    dtype = options.dtype or dtype
    parts = (manifest_sha256, fingerprint, options.profile, options.codec, dtype, options.seed, RENDER_VERSION)
    return hashlib.sha256("/".join(str(part) for part in parts).encode()).hexdigest()[:16]


def plan_run(
    manifest_uri: str,
    *,
    model: ModelRef,
    options: RenderOptions,
    settings: Settings,
    out: Storage | None = None,
    fleet: Callable[[Sequence[Demand]], Fleet] = lambda _: Fleet(),
    strict: bool = False,
    keep_columns: bool = False,
    publish: bool = True,
    claim: Callable[[str], None] | None = None,
) -> Plan:
    """Reads, checks and orders a manifest, drops what the ledger in `out` has, and publishes the plan there.

    Nothing is written before the whole manifest was read; nothing at all without `out` or without `publish`.
    `claim` is called with the run's id in between: a driver takes its lease there, before the ledger is looked at.
    `fleet` says what to estimate for, given all clips of the run, also those that are done: a run that goes on shares
    its clips as before.

    Raises:
        ManifestError: the manifest cannot be used; with `strict` also where a row is rejected.
        ModelError: the model cannot be rendered.
        StorageError: the ledger cannot be read or the plan not written.
    """
    files = Files(settings)
    with (
        open_manifest(manifest_uri, files, keep_columns=keep_columns) as manifest,
        InputChecker(files, settings) as inputs,
        tempfile.TemporaryDirectory(prefix="wanfarm-plan-") as folder,
        RowFiles(Path(folder)) as rows,
        Spool() as spool,
    ):
        costing = _Costing(out)
        admission = Admission(usable(model), options=options, settings=settings, inputs=inputs)
        _read_all(manifest, admission, costing=costing, rows=rows, spool=spool)
        if strict and rows.num_rejected:
            raise ManifestError(_refusal(rows))
        run_id = run_id_of(manifest.sha256, options, fingerprint=model.fingerprint, dtype=model.card.dtype)
        if claim is not None:
            claim(run_id)
        num_clips, demands = len(spool.clip_ids), costing.demands(spool)
        costing.settle(fleet(demands))
        if out is not None and publish:  # before the ledger is looked at: from now on the run holds what it finds there
            _publish_rows(out, run_id, rows)
        num_done = spool.drop(committed_ids(out, among=spool.clip_ids)) if out is not None else 0
        num_failed = spool.drop(failed_ids(out)) if out is not None else 0
        return Plan(
            run_id=run_id,
            manifest_uri=manifest_uri,
            manifest_sha256=manifest.sha256,
            model=model,
            options=options,
            num_rows=rows.num_admitted + rows.num_rejected,
            num_rejected=rows.num_rejected,
            num_clips=num_clips,
            num_done=num_done,
            num_failed=num_failed,
            num_remaining=len(spool.clip_ids),
            warnings=dict(rows.warnings.most_common()),
            rejected=tuple(rows.first_rejected),
            estimate=costing.estimate(spool, settings),
            fleet=costing.fleet,
            demands=demands,
            segments=_publish_segments(out, run_id, rows.folder, spool, costing) if out is not None and publish else (),
        )


def _read_all(manifest: Manifest, admission: Admission, *, costing: _Costing, rows: RowFiles, spool: Spool) -> None:
    """Every row goes to the files that tell its fate, every admitted one to the spool as well."""
    for batch in manifest.batches():
        for verdict in admission.admit(batch):
            rows.add(verdict)
            if isinstance(verdict, Admitted):
                spool.add(verdict, costing.cost(verdict))
        rows.flush()
    rows.close()


class _Costing:
    """Costs of clips, worked out once per shape, and their sum. Calibrations are read once per model."""

    def __init__(self, out: Storage | None) -> None:
        self.fleet = Fleet()
        self._out = out
        self._calibrations: dict[str, Calibration | None] = {}
        self._costs: dict[tuple[Group, bool, str, float], ClipCost] = {}

    def settle(self, fleet: Fleet) -> None:
        """From here on seconds are those of this fleet."""
        self.fleet = fleet

    def cost(self, clip: Admitted) -> ClipCost:
        key = group_of(clip.spec), clip.spec.is_guided, clip.spec.solver, clip.spec.shift
        if key not in self._costs:
            self._costs[key] = cost_of(clip.spec, clip.model.card)
        return self._costs[key]

    def seconds(self, model: ModelRef, cost: ClipCost) -> float | None:
        """Of a gang of the fleet for one clip."""
        return clip_seconds(cost.work, self._calibration(model), self.fleet)

    def demands(self, spool: Spool) -> tuple[Demand, ...]:
        """What the planner of degrees asks of all clips in the spool."""
        return tuple(tally.demand for tally in self._tallies(spool).values())

    def estimate(self, spool: Spool, settings: Settings) -> Estimate:
        """Of all clips that are left in the spool."""
        tallies = self._tallies(spool)
        found = {model.name: self._calibration(model) for model in tallies}
        measured = {name: calibration for name, calibration in found.items() if calibration is not None}
        return estimate(tallies.values(), self.fleet, calibrations=measured, settings=settings)

    def _tallies(self, spool: Spool) -> dict[ModelRef, Tally]:
        tallies: dict[ModelRef, Tally] = {}
        for model, cost in spool.costs():
            tallies.setdefault(model, Tally(card=model.card)).add(cost)
        return tallies

    def _calibration(self, model: ModelRef) -> Calibration | None:
        if model.name not in self._calibrations:
            device, out = self.fleet.device, self._out
            found = read_calibration(out, device, model=model.name) if out is not None else None
            self._calibrations[model.name] = found
        return self._calibrations[model.name]


def _publish_rows(out: Storage, run_id: str, rows: RowFiles) -> None:
    """Puts what became of each row below OUT."""
    out.put_file(f"{run_folder(run_id)}/rejected.parquet", rows.rejected_path)
    out.put_file(rows_path(run_id), rows.admitted_path)


def _publish_segments(out: Storage, run_id: str, local: Path, spool: Spool, costing: _Costing) -> tuple[str, ...]:
    """Puts the segments below OUT. Those of an earlier plan of this run go."""
    folder = f"{run_folder(run_id)}/plan"
    earlier = set(out.names(folder))
    paths = []
    for segment in spool.write(local, seconds=costing.seconds):
        paths.append(f"{folder}/{segment.name}")
        out.put_file(paths[-1], segment)
    for path in earlier.difference(paths):
        out.delete(path)
    return tuple(paths)


def _refusal(rows: RowFiles) -> str:
    lines = [
        f"  row {row}{f' ({name})' if name else ''}: {'; '.join(faults)}" for row, name, faults in rows.first_rejected
    ]
    more = rows.num_rejected - len(lines)
    lines += [f"  and {more} more"] if more else []
    return "\n".join([f"{rows.num_rejected} rows would be rejected, and --strict allows none:", *lines])
