"""The API's service, as an application's configuration describes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deployments.config import AppConfig, ModelConfig
from deployments.inputs.fetch import Fetcher
from deployments.inputs.pictures import Pictures
from deployments.offers import Offer
from deployments.service import VideoService
from farm.calibration import read_calibration
from farm.cost import Fleet, clip_seconds, work_of
from farm.files import Files
from farm.metrics import Meter
from farm.models import Card, chosen_model
from farm.queue.store import JobStore
from farm.settings import Settings
from farm.spec import ClipSpec, RenderOptions
from farm.storage import Storage, open_storage

if TYPE_CHECKING:
    from deployments.clients import DispatchPort


def open_service(
    config: AppConfig, dispatch: DispatchPort, *, settings: Settings | None = None, meter: Meter | None = None
) -> VideoService:
    """The service of one output. Hashes the weights of its models where nobody here has done so yet."""
    settings = settings or Settings.from_env()
    out = open_storage(config.out, options=settings.options_for("s3"))
    offers = [offer_of(model, out, settings) for model in config.models]
    return VideoService(
        store=JobStore(out, retention=config.retention.rules),
        dispatch=dispatch,
        offers={offer.name: offer for offer in offers},
        pictures=Pictures(config.inputs, Fetcher(config.inputs, Files(settings))),
        settings=config.api,
        currency=settings.currency,
        meter=meter,
    )


def offer_of(model: ModelConfig, out: Storage, settings: Settings) -> Offer:
    """One model of the configuration."""
    ref = chosen_model(model.model, settings)
    return Offer(
        ref=ref,
        options=RenderOptions(profile=model.profile, codec=model.codec, dtype=model.dtype),
        estimate=_estimate(ref.card, model, out),
    )


def _estimate(card: Card, model: ModelConfig, out: Storage) -> Callable[[ClipSpec], float | None]:
    """Device-seconds by what was measured on this output, or by the kind of device."""
    calibration = read_calibration(out, model.device, model=card.name)
    fleet = Fleet(device=model.device, threads=model.threads)
    return lambda spec: clip_seconds(work_of(spec, card), calibration, fleet)
