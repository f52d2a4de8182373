"""The whole configuration of an application, from YAML or from arguments; every fault of it is named at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from deployments.api.settings import ApiSettings
from deployments.config.faults import described
from deployments.config.keeping import RetentionConfig
from deployments.config.models import FROZEN, Count, ModelConfig, Name, Seconds
from deployments.inputs.settings import InputSettings
from farm.errors import UsageError


class ServersConfig(BaseModel):
    """The processes that answer HTTP.

    Args:
        replicas: how many.
        num_cpus: that Ray books for each.
        max_ongoing_requests: of one; streams of events count.
        max_queued_requests: that wait for a place; more are answered 503.
    """

    model_config = FROZEN

    replicas: Count = 1
    num_cpus: float = Field(default=0.1, ge=0)
    max_ongoing_requests: Count = 1000
    max_queued_requests: Count = 2000


class DispatcherConfig(BaseModel):
    """The process that keeps the queue in order.

    Args:
        num_cpus: that Ray books for it.
        lease_s: after how long without a sign of life another takes its place.
        look_every_s: how often it looks for jobs that nobody told it of.
        prefetch_texts: prompts at the queue's head whose text states are made before their turn.
        weights: what the shares of a project's keys are multiplied by; 1 for those not named.
    """

    model_config = FROZEN

    num_cpus: float = Field(default=0.1, ge=0)
    lease_s: Seconds = 15.0
    look_every_s: Seconds = 1.0
    prefetch_texts: int = Field(default=8, ge=0, strict=True)
    weights: dict[str, Seconds] = Field(default_factory=dict)


class SharingConfig(BaseModel):
    """How batch runs of the same OUT share the cluster with online jobs.

    Args:
        policy: "side_by_side" leaves each the devices it holds. "online_first" pauses batch runs while online jobs wait
            for devices, and lets them go on when the queue is empty.
        patience_s: how long gangs must have found no room before runs are paused.
        resume_after_s: how long nothing must have waited before they go on.
    """

    model_config = FROZEN

    policy: Literal["side_by_side", "online_first"] = "side_by_side"
    patience_s: Seconds = 20.0
    resume_after_s: Seconds = 30.0


class AppConfig(BaseModel):
    """An application: one OUT, one or more models.

    Args:
        out: folder or s3://bucket/prefix, as every node sees it.
        models: the first is what a request gets that names none.
        api, inputs: what is taken, from whom and from where.
    """

    model_config = FROZEN

    out: Name
    models: tuple[ModelConfig, ...] = Field(min_length=1)
    api: ApiSettings = ApiSettings()
    inputs: InputSettings = InputSettings()
    retention: RetentionConfig = RetentionConfig()
    servers: ServersConfig = ServersConfig()
    dispatcher: DispatcherConfig = DispatcherConfig()
    sharing: SharingConfig = SharingConfig()

    @field_validator("models")
    @classmethod
    def _each_once(cls, models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
        names = [model.model for model in models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named more than once: {', '.join(twice)}")
        return models

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str = "") -> AppConfig:
        """From plain data. UsageError naming every fault and, of an unknown key, the nearest there is."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError("; ".join(described(error, cls, where=where))) from error
