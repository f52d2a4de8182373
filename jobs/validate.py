"""`wanfarm validate`: every fault of every row, and what the model's card advises against."""

from __future__ import annotations

from collections import Counter
from typing import Any

from farm.admission import Admission, Rejected, usable
from farm.errors import ManifestError
from farm.files import Files
from farm.inputs import InputChecker
from farm.manifest import open_manifest
from farm.models import chosen_model
from farm.settings import Settings
from jobs.calls import Asked
from jobs.opening import options_of
from jobs.printing import counted, say, say_json


def validate_manifest(manifest_uri: str, *, asked: Asked, as_json: bool) -> int:
    """0 where all rows are good, 1 where some are not. Rejected rows are shown as they are found.

    Raises ManifestError for a manifest that cannot be used, with `--strict` also for one with a bad row.
    """
    settings = Settings.from_env()
    model = usable(chosen_model(asked.model, settings))
    files, bad = Files(settings), list[dict[str, Any]]()
    clips: set[str] = set()
    warnings: Counter[str] = Counter()
    num_rows = 0
    with (
        open_manifest(manifest_uri, files, keep_columns=asked.keep_columns) as manifest,
        InputChecker(files, settings) as inputs,
    ):
        admission = Admission(model, options=options_of(asked), settings=settings, inputs=inputs)
        for batch in manifest.batches():
            for verdict in admission.admit(batch):
                num_rows += 1
                if not isinstance(verdict, Rejected):
                    clips.add(verdict.clip_id)
                    warnings.update(verdict.warnings)
                    continue
                bad.append({"row": verdict.raw.row, "id": verdict.id, "faults": verdict.faults})
                if not as_json:
                    say([_shown(bad[-1])])
    found = {"rows": num_rows, "clips": len(clips), "rejected": bad, "warnings": dict(warnings.most_common())}
    if as_json:
        say_json(found)
    else:
        say(f"warning: {text} ({counted(count, 'row')})" for text, count in warnings.most_common())
        say([f"{counted(num_rows, 'row')}, {counted(len(clips), 'clip')}, {len(bad)} rejected"])
    if bad and asked.strict:
        raise ManifestError(f"{counted(len(bad), 'row')} would be rejected, and --strict allows none")
    return 1 if bad else 0


def _shown(row: dict[str, Any]) -> str:
    name = f" ({row['id']})" if row["id"] else ""
    return f"row {row['row']}{name}: {'; '.join(row['faults'])}"
