"""What a cluster is told in place of a call made elsewhere: which run it is, and where the manifest lies for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from farm.control import refuse_if_cancelled
from farm.errors import ManifestError, ModelError
from farm.files import Files, protocol_of
from farm.layout import manifest_folder
from farm.manifest import Manifest, open_manifest
from farm.models import CARDS, chosen_model
from farm.plan import run_id_of
from farm.run_facts import read_cards
from farm.settings import Settings
from farm.spec import DType
from farm.storage import Storage
from jobs.calls import Asked
from jobs.opening import options_of

# Columns with URIs of files. Relative ones stand below the manifest.
INPUTS = ("image", "last_image", "video", "control")
# Of a model that has no card: what its card would say, for all of them but the embedded one.
_DTYPE: DType = "bfloat16"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A run as the cluster sees it: `manifest` and the model in `asked` are named so that it finds them."""

    run_id: str
    manifest: str
    asked: Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    name: str
    fingerprint: str
    dtype: DType


def hand_over(
    manifest_uri: str, *, out: Storage, asked: Asked, settings: Settings, fingerprint: str | None = None
) -> HandedOver:
    """Work out the run, and put a manifest of this machine below OUT. `fingerprint` tells a model that is not here.

    Raises:
        ManifestError: it cannot be used, or it names inputs that the cluster could not find.
        ModelError: nothing here tells which weights the model has.
        UsageError: the run was cancelled.
    """
    with open_manifest(manifest_uri, Files(settings), keep_columns=asked.keep_columns) as manifest:
        model = _model_of(asked.model, out=out, settings=settings, fingerprint=fingerprint)
        options = options_of(asked)
        run_id = run_id_of(manifest.sha256, options, fingerprint=model.fingerprint, dtype=model.dtype)
        refuse_if_cancelled(out, run_id)
        return HandedOver(run_id=run_id, manifest=_seen_by_all(manifest, out), asked=replace(asked, model=model.name))


def _model_of(name: str, *, out: Storage, settings: Settings, fingerprint: str | None) -> _Model:
    """The model by what the caller says of it, else by its folder here, else by what runs of this output knew."""
    if fingerprint is None:
        try:
            found = chosen_model(name, settings)
        except ModelError as error:
            fingerprint = _fingerprint_of_runs(name, out, why=str(error))
        else:
            return _Model(name=_absolute(name), fingerprint=found.fingerprint, dtype=found.card.dtype)
    card = CARDS.get(name)
    return _Model(name=name, fingerprint=fingerprint, dtype=_DTYPE if card is None else card.dtype)


def _fingerprint_of_runs(name: str, out: Storage, *, why: str) -> str:
    """That of the model in earlier runs. ModelError where they know none or several."""
    known = {card.model_fingerprint for card in read_cards(out) if name in (card.model_name, card.model_path)}
    if len(known) == 1:
        return known.pop()
    runs = "no run" if not known else f"{len(known)} runs, each with other weights,"
    raise ModelError(
        f"{why}; {runs} in {out.uri} tells its weights. Say --fingerprint, "
        f"which on a node that has them is told by: wanfarm inspect {name} --fingerprint"
    )


def _absolute(name: str) -> str:
    """A folder's name for processes that work elsewhere; names of models stay."""
    folder = Path(name).expanduser()
    return str(folder.absolute()) if name not in CARDS and folder.is_dir() else name


def _seen_by_all(manifest: Manifest, out: Storage) -> str:
    """The manifest's address on the cluster. One of this machine is copied below OUT, which every node sees."""
    if protocol_of(manifest.uri) != "file":
        return manifest.uri
    relative = next(_relative_inputs(manifest), None)
    if relative is None:
        return _copied(manifest, out)
    if protocol_of(out.uri) != "file":
        row, name, uri = relative
        raise ManifestError(
            f"row {row} of {manifest.uri} names its {name} {uri!r} relative to a manifest on this machine, which the "
            "cluster does not see: name it by a URI, or put the manifest and its inputs where the cluster reads them"
        )
    return str(Path(manifest.uri.removeprefix("file://")).expanduser().absolute())


def _relative_inputs(manifest: Manifest) -> Iterator[tuple[int, str, str]]:
    for batch in manifest.batches():
        for raw in batch.rows:
            for name in INPUTS:
                uri = (raw.values or {}).get(name)
                if isinstance(uri, str) and "://" not in uri and not uri.startswith("/"):
                    yield raw.row, name, uri


def _copied(manifest: Manifest, out: Storage) -> str:
    """Under a name that bears the content's hash: the same manifest is copied once."""
    folder = manifest_folder(manifest.sha256)
    paths = [f"{folder}/{name}" for name in _names(manifest)]
    for part, path in zip(manifest.parts, paths, strict=True):
        if not out.exists(path):
            out.put_file(path, part.local)
    return out.uri_of(paths[0] if len(paths) == 1 else folder)


def _names(manifest: Manifest) -> list[str]:
    """Plain names for its files, in their order."""
    names = [re.sub(r"[^A-Za-z0-9._-]+", "-", part.local.name) for part in manifest.parts]
    return names if len(names) == 1 else [f"{number:05d}-{name}" for number, name in enumerate(names)]
