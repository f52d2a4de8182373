"""Admission: each row of a manifest becomes a clip to make, or is rejected with all of its faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farm.errors import ModelError
from farm.files import resolve
from farm.inputs import InputChecker
from farm.manifest import Batch, RawRow
from farm.models import ModelRef, resolve_model
from farm.normalise import FIELD_NEEDS, faults_of, normalise, warnings_of
from farm.request import RowRequest, derive_seed, parse_row
from farm.settings import Settings
from farm.spec import AssetRef, ClipSpec, RenderOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A row that is not rendered, and everything that is wrong with it."""

    raw: RawRow
    id: str | None
    faults: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A row that is a clip. Rows that ask for the same thing with the same seed share a clip_id."""

    raw: RawRow
    request: RowRequest
    model: ModelRef
    spec: ClipSpec
    clip_id: str
    warnings: list[str]


class Admission:
    """Remembers across a manifest's rows which ids were taken and how often a row came before."""

    def __init__(self, model: ModelRef, *, options: RenderOptions, settings: Settings, inputs: InputChecker) -> None:
        self._default = model
        self._options = options
        self._settings = settings
        self._inputs = inputs
        self._models: dict[str, ModelRef | str] = {}
        self._first_row_of: dict[str, int] = {}
        self._occurrences: dict[bytes, int] = {}

    def admit(self, batch: Batch) -> Iterator[Admitted | Rejected]:
        """Each row of a batch, in order. Batches must come in the manifest's order, once."""
        drafts = [self._draft(raw, base=batch.base) for raw in batch.rows]
        self._inputs.check(draft.image for draft in drafts if draft.image is not None)
        for draft in drafts:
            yield self._decided(draft)

    def _draft(self, raw: RawRow, *, base: str) -> _Draft:
        if raw.values is None:
            return _Draft(raw=raw, request=None, model=None, image=None, faults=list(raw.faults))
        request, faults = parse_row(raw.values)
        faults = [*raw.faults, *faults]
        model = self._model(request.model)
        if isinstance(model, str):
            faults.append(f"model: {model}")
            return _Draft(raw=raw, request=request, model=None, image=None, faults=faults)
        faults += faults_of(request, model.card)
        takes_image = request.image is not None and FIELD_NEEDS["image"] in model.card.modes
        image = resolve(request.image, base=base) if takes_image and request.image is not None else None
        return _Draft(raw=raw, request=request, model=model, image=image, faults=faults)

    def _decided(self, draft: _Draft) -> Admitted | Rejected:
        request, model = draft.request, draft.model
        image = self._inputs.image(draft.image) if draft.image is not None else None
        if isinstance(image, str):
            draft.faults.append(f"image: {image}")
        if request is not None:
            draft.faults.extend(self._repeated_id(request, draft.raw.row))
        if draft.faults or request is None or model is None:
            return Rejected(raw=draft.raw, id=request.id if request else None, faults=draft.faults)
        return self._admitted(draft.raw, request, model, image=image if isinstance(image, AssetRef) else None)

    def _admitted(self, raw: RawRow, request: RowRequest, model: ModelRef, *, image: AssetRef | None) -> Admitted:
        seed = request.seed if request.seed is not None else self._next_seed(request)
        spec = normalise(request, model, options=self._options, seed=seed, image=image)
        return Admitted(
            raw=raw,
            request=request,
            model=model,
            spec=spec,
            clip_id=spec.clip_id,
            warnings=warnings_of(spec, model.card),
        )

    def _next_seed(self, request: RowRequest) -> int:
        identity = request.identity()
        occurrence = self._occurrences.get(identity, 0)
        self._occurrences[identity] = occurrence + 1
        return derive_seed(self._options.seed, identity, occurrence=occurrence)

    def _repeated_id(self, request: RowRequest, row: int) -> Iterator[str]:
        if request.id is None:
            return
        first = self._first_row_of.setdefault(request.id, row)
        if first != row:
            yield f"id: {request.id[:60]!r} is that of row {first} too, which stands"

    def _model(self, name: str | None) -> ModelRef | str:
        """The row's model, or why it cannot be used."""
        if name is None:
            return self._default
        if name not in self._models:
            try:
                self._models[name] = usable(resolve_model(name, self._settings))
            except ModelError as error:
                self._models[name] = str(error)
        return self._models[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    raw: RawRow
    request: RowRequest | None
    model: ModelRef | None
    image: str | None
    faults: list[str]


def usable(model: ModelRef) -> ModelRef:
    """The model itself. ModelError where this version cannot render it."""
    if model.card.unsupported is not None:
        raise ModelError(f"the model {model.name} in {model.path} cannot be rendered: {model.card.unsupported}")
    return model
