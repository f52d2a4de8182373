"""From a request to a clip that can be made: measured against the model's card, with its picture looked at.

A draft writes nothing: what is refused leaves no trace. Blocking (pictures are fetched and decoded): for a thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deployments.api.asked import Asked, fault_of
from deployments.errors import ConflictError, Fault, InvalidError
from deployments.inputs.pictures import CheckedPicture, Pictures
from deployments.offers import Offer
from farm.errors import InputError
from farm.models import IMAGE_TO_VIDEO
from farm.normalise import faults_of, normalise, warnings_of
from farm.queue.job import Job, JobView
from farm.request import RowRequest
from farm.spec import AssetRef, ClipSpec

# Seeds that were not given; as those that manifests derive.
SEED_BITS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A clip that can be made for whoever asked. `picture` is to be kept first, where the spec refers to one anew."""

    spec: ClipSpec
    offer: Offer
    is_seed_given: bool
    picture: CheckedPicture | None = None
    priority: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    ttl_s: int | None = None
    is_pinned: bool = False
    remixed_from: str | None = None
    extends: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)


class Drafting:
    """Makes drafts of requests, with what is on offer. Every method raises InvalidError with all faults."""

    def __init__(self, offers: Mapping[str, Offer], pictures: Pictures, *, inputs_uri: str) -> None:
        self._offers = offers
        self._pictures = pictures
        self._inputs_uri = inputs_uri

    def create(self, asked: Asked) -> Draft:
        """What was asked for."""
        faults = list(asked.faults)
        offer = self._offer(asked.row.model, faults)
        row = asked.row
        if offer is not None:
            row, found = asked.measured(offer.card)
            faults += found
        takes_picture = offer is None or IMAGE_TO_VIDEO in offer.card.modes
        picture = self._picture(asked, faults) if takes_picture else None
        if faults or offer is None:
            raise InvalidError(faults)
        spec = self._spec(row, offer, image=None if picture is None else self._asset(picture))
        return Draft(
            spec=spec,
            offer=offer,
            picture=picture,
            is_seed_given=row.seed is not None,
            priority=row.priority or 0,
            tags=row.tags or {},
            ttl_s=asked.ttl_s,
            is_pinned=asked.is_pinned,
            asked=asked.echo,
        )

    def remix(self, source: Job, prompt: str) -> Draft:
        """The same clip with another prompt."""
        return self._derived(source, {"prompt": prompt}, remixed_from=source.id)

    def again(self, source: Job) -> Draft:
        """The same clip once more."""
        return self._derived(
            source,
            {},
            remixed_from=source.remixed_from,
            extends=source.extends,
            ttl_s=source.ttl_s,
            is_pinned=source.is_pinned,
        )

    def extend(self, source: JobView, asked: Asked, last_frame: CheckedPicture) -> Draft:
        """A clip of the same settings that begins with the source's last frame. Asked are prompt, length and seed."""
        offer, spec = self._offer_again(source.job), source.job.spec
        wished = asked.row.model_copy(
            update={
                "fps": spec.fps,
                "width": spec.width,
                "height": spec.height,
                "num_frames": asked.row.num_frames or spec.num_frames,
                "image": last_frame.path,
            }
        )
        row, found = replace(asked, row=wished, picture_field="video").measured(offer.card)
        faults = [*asked.faults, *found]
        if faults:
            raise InvalidError(faults)
        changes = {
            "prompt": row.prompt,
            "num_frames": row.num_frames,
            "seed": _seed() if row.seed is None else row.seed,
            "image": self._asset(last_frame),
        }
        return self._derived(
            source.job,
            changes,
            extends=source.job.id,
            picture=last_frame,
            is_seed_given=row.seed is not None,
            asked=asked.echo,
        )

    def _derived(self, source: Job, changes: Mapping[str, Any], **origin: Any) -> Draft:
        offer = self._offer_again(source)
        options = {
            "model": offer.ref.fingerprint,
            "profile": offer.options.profile,
            "codec": offer.options.codec,
            "dtype": offer.options.dtype or offer.card.dtype,
        }
        spec = ClipSpec.model_validate({**dict(source.spec), **options, **changes})
        if faults := _prompt_faults(spec.prompt, offer):
            raise InvalidError(faults)
        values = {"is_seed_given": True, "asked": source.asked, **origin}
        return Draft(spec=spec, offer=offer, priority=source.priority, tags=source.tags, **values)

    def _offer(self, name: str | None, faults: list[Fault]) -> Offer | None:
        if name is None:
            return next(iter(self._offers.values()))
        if name not in self._offers:
            known = ", ".join(self._offers)
            faults.append(
                Fault(
                    message=f"no model {name[:60]!r} is offered here (there are: {known})",
                    field="model",
                    code="model_not_found",
                    advice=f"one of: {known}",
                )
            )
        return self._offers.get(name)

    def _offer_again(self, source: Job) -> Offer:
        faults: list[Fault] = []
        offer = self._offer(source.model, faults)
        if offer is None:
            raise ConflictError(
                f"{source.id} was made by {source.model}, which is not offered any more",
                code="model_not_offered",
                advice=faults[0].advice,
            )
        return offer

    def _picture(self, asked: Asked, faults: list[Fault]) -> CheckedPicture | None:
        try:
            if asked.upload is not None:
                return self._pictures.check(asked.upload)
            return None if asked.row.image is None else self._pictures.fetch(asked.row.image)
        except InputError as error:
            faults.append(Fault(message=str(error), field=asked.picture_field or "image", code="bad_input"))
            return None

    def _asset(self, picture: CheckedPicture) -> AssetRef:
        return AssetRef(uri=f"{self._inputs_uri}/{picture.path}", sha256=picture.sha256)

    def _spec(self, row: RowRequest, offer: Offer, *, image: AssetRef | None) -> ClipSpec:
        return normalise(row, offer.ref, options=offer.options, seed=_seed(), image=image)


def warnings_for(draft: Draft) -> tuple[str, ...]:
    """The card's advice that the clip goes against."""
    return tuple(warnings_of(draft.spec, draft.offer.card))


def _prompt_faults(prompt: str, offer: Offer) -> list[Fault]:
    found = (fault_of(text) for text in faults_of(RowRequest(prompt=prompt), offer.card))
    return [fault for fault in found if fault.field == "prompt"]


def _seed() -> int:
    return secrets.randbits(SEED_BITS)
