"""The models of an application: what the configuration says of each, and the card that its folder has."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.config import AppConfig, ModelConfig
from deployments.names import renderer_name, short_names
from farm.calibration import read_calibration
from farm.errors import UsageError
from farm.models import Card, chosen_model, find_model, read_dims
from farm.models.resolve import match_card
from farm.queue.lane import ModelLane
from farm.settings import Settings
from farm.speed_up import speed_up
from farm.storage import Storage
from farm.workers.engine import ModelPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One model. `path` is its folder on this node, `short_name` names its deployments."""

    config: ModelConfig
    short_name: str
    path: str
    card: Card

    @property
    def name(self) -> str:
        """As jobs name it."""
        return self.card.name

    @property
    def renderer(self) -> str:
        """The deployment of its gangs."""
        return renderer_name(self.short_name)


def served_models(config: AppConfig, settings: Settings) -> list[ServedModel]:
    """All models; reads their folders' configurations, no weights.

    UsageError where one is not there, cannot be rendered, or has another's card: jobs would not say which they mean.
    """
    found = list[ServedModel]()
    for model, short_name in zip(config.models, short_names([model.model for model in config.models]), strict=True):
        folder = find_model(model.model, settings)
        card = match_card(folder, read_dims(folder))
        if card.unsupported is not None:
            raise UsageError(f"{model.model} ({card.title}) cannot be served: {card.unsupported}")
        twin = next((one for one in found if one.card.name == card.name), None)
        if twin is not None:
            raise UsageError(f"{twin.config.model} and {model.model} are both {card.name}: serve one of them")
        found.append(ServedModel(config=model, short_name=short_name, path=str(folder), card=card))
    return found


def served_model(config: AppConfig, short_name: str, settings: Settings) -> ServedModel:
    """The one of that short name."""
    return next(model for model in served_models(config, settings) if model.short_name == short_name)


def plan_of(model: ServedModel, settings: Settings, *, threads: int, device: str) -> ModelPlan:
    """Which weights are loaded, and onto what. Reads all weights where their fingerprint is not known here yet."""
    config = model.config
    reference = chosen_model(config.model, settings)
    return ModelPlan(
        name=reference.name,
        path=reference.path,
        fingerprint=reference.fingerprint,
        dtype=config.dtype or reference.card.dtype,
        device=device,
        threads=threads,
        parallel=config.parallel,
        exchange=settings.ulysses,
        tiles=config.tiles,
    )


def lane_of(model: ServedModel, storage: Storage) -> ModelLane:
    """What the dispatcher has to know: jobs bear the seconds of one device, and a gang of several is faster."""
    config = model.config
    times = speed_up(config.parallel, config.device)
    calibration = read_calibration(storage, config.device, model=model.name)
    return ModelLane(
        estimate=lambda job: None if job.device_seconds is None else job.device_seconds / times,
        num_ranks=config.parallel.degree,
        load_s=0.0 if calibration is None else calibration.load_seconds,
    )
