"""Models by name or folder: where they are, which card describes them, and the fingerprint of their weights."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from farm.errors import ModelError
from farm.models.cards import Card
from farm.models.catalogue import CARDS, generic_card
from farm.models.dims import ModelDims
from farm.models.fingerprint import fingerprint
from farm.models.folder import NO_MODEL, layout_of, read_dims
from farm.settings import Settings

EMBEDDED = "nano"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model that was found. `name` is its card's, `path` its folder, `fingerprint` the hash of its files."""

    name: str
    path: str
    card: Card
    fingerprint: str


def resolve_model(name_or_path: str, settings: Settings) -> ModelRef:
    """The model of that name or in that folder. ModelError saying what was looked for and where."""
    folder = find_model(name_or_path, settings)
    card = match_card(folder, read_dims(folder))
    digest = fingerprint(folder, cache_dir=settings.cache_dir)
    return ModelRef(name=card.name, path=str(folder), card=card, fingerprint=digest)


def chosen_model(name_or_path: str, settings: Settings) -> ModelRef:
    """The model that clips are asked of.

    Clips of another render backend must never bear a real clip's id: its name goes into the fingerprint.
    """
    model = resolve_model(name_or_path, settings)
    if settings.engine is None:
        return model
    digest = hashlib.sha256(f"{settings.engine}/{model.fingerprint}".encode()).hexdigest()
    return replace(model, fingerprint=digest)


def find_model(name_or_path: str, settings: Settings) -> Path:
    """The folder of a model: the embedded one, a path, or a name under WANFARM_MODELS. ModelError if there is none."""
    if name_or_path == EMBEDDED:
        return _embedded_folder()
    candidates = [Path(name_or_path).expanduser(), *(root / name_or_path for root in settings.model_dirs)]
    for folder in candidates:
        if folder.is_dir() and layout_of(folder) is not None:
            return folder.resolve()
    raise ModelError(_not_found(name_or_path, candidates, settings))


def match_card(folder: Path, dims: ModelDims) -> Card:
    """The card of a model with these dimensions; of several, the one whose name stands in the folder's path.

    Where its experts change places is the folder's to say: other boundaries are other clips of the same model.
    """
    known = (replace(card, dims=replace(card.dims, boundary=dims.boundary)) for card in CARDS.values())
    fitting = [card for card in known if card.dims == dims]
    if not fitting:
        return generic_card(folder.name, dims)
    path = _normal(str(folder))
    named = [card for card in fitting if _normal(card.name) in path]
    return max(named, key=lambda card: len(card.name)) if named else fitting[0]


def _embedded_folder() -> Path:
    """Where the nano model's weights are. The package is located, not imported: importing it would load torch."""
    package = find_spec("wan_model")
    places = list(package.submodule_search_locations or ()) if package else []
    for place in places:
        folder = Path(place) / "nano" / "weights"
        if layout_of(folder) is not None:
            return folder
    raise ModelError(
        f"the embedded model nano is not in the installed package wan_model ({', '.join(places) or 'absent'})"
    )


def _not_found(name_or_path: str, candidates: list[Path], settings: Settings) -> str:
    exists = next((folder for folder in candidates if folder.exists()), None)
    if exists is not None:
        return f"{exists} is not a model folder: {NO_MODEL}"
    looked = ", ".join(str(folder) for folder in candidates)
    hint = "" if settings.model_dirs else "; WANFARM_MODELS can name folders to look in"
    known = " (a known model, but its weights are not here)" if name_or_path in CARDS else ""
    return f"no model {name_or_path!r}{known}: it is not {EMBEDDED}, and there is no folder {looked}{hint}"


def _normal(text: str) -> str:
    """Lower case, with one dash between words, so that Wan2.1-T2V_1.3B and wan-2.1-t2v-1.3b are alike."""
    return re.sub(r"wan-(?=\d)", "wan", re.sub(r"[^a-z0-9.]+", "-", text.lower()))
