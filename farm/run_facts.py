"""OUT/runs/<run_id>/run.json: what a run was called with, for those who come to it later (status, retry, verify)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from pydantic import BaseModel, ConfigDict

from farm.errors import NotFoundError
from farm.layout import run_folder
from farm.plan import Plan
from farm.storage import Storage


class RunCard(BaseModel):
    """A run's name and origin. `model_fingerprint` and `model_path` say where its default model's weights are."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    run_id: str
    manifest_uri: str
    manifest_sha256: str
    model_name: str
    model_path: str
    model_fingerprint: str
    num_rows: int
    num_rejected: int
    num_clips: int


def card_of(plan: Plan) -> RunCard:
    """The card of a planned run."""
    return RunCard(
        run_id=plan.run_id,
        manifest_uri=plan.manifest_uri,
        manifest_sha256=plan.manifest_sha256,
        model_name=plan.model.name,
        model_path=plan.model.path,
        model_fingerprint=plan.model.fingerprint,
        num_rows=plan.num_rows,
        num_rejected=plan.num_rejected,
        num_clips=plan.num_clips,
    )


def write_card(out: Storage, card: RunCard) -> None:
    """Keep it; the same run has the same card."""
    out.replace(_path(card.run_id), (card.model_dump_json(indent=1) + "\n").encode())


def read_card(out: Storage, run_id: str) -> RunCard | None:
    """A run's card, None where there is no such run."""
    with suppress(NotFoundError):
        return RunCard.model_validate_json(out.read(_path(run_id)))
    return None


def read_cards(out: Storage) -> Iterator[RunCard]:
    """The cards of all runs of an output."""
    for run_id in out.folders("runs"):
        card = read_card(out, run_id)
        if card is not None:
            yield card


def _path(run_id: str) -> str:
    return f"{run_folder(run_id)}/run.json"
