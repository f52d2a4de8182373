"""One model of an application: which weights, on what a gang of it runs, and how many gangs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from farm.parallelism import ParallelPlan
from farm.spec import Codec, DType, Profile

FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

Count = Annotated[int, Field(ge=1, strict=True)]
Positive = Annotated[float, Field(gt=0)]
Seconds = Positive
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ScalingConfig(BaseModel):
    """How many gangs of one model there are.

    Args:
        min_replicas: gangs that are always there. 0 lets the model go when nobody asks for it.
        max_replicas: the most there may be.
        target_backlog_s: estimated seconds of work that one gang may have before it; more gangs come when there is
            more, so this is about how long a new job waits.
        up_delay_s: how long there has to be more before gangs are added. The first one comes at once.
        down_delay_s: how long there has to be less before gangs go.
        to_zero_s: how long there has to be nothing at all before the last one goes.
    """

    model_config = FROZEN

    min_replicas: int = Field(default=1, ge=0, strict=True)
    max_replicas: Count = 1
    target_backlog_s: Seconds = 60.0
    up_delay_s: float = Field(default=2.0, ge=0)
    down_delay_s: float = Field(default=60.0, ge=0)
    to_zero_s: float = Field(default=300.0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> ScalingConfig:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is less than min_replicas ({self.min_replicas})")
        return self


class ModelConfig(BaseModel):
    """One model and the gangs that render with it.

    Args:
        model: its name, or its folder as every node sees it.
        device: kind of device as in the price table ("nvidia-h100"), "cpu" for cores.
        ulysses_degree: devices that share a clip's tokens.
        cfg_degree: 2 has guidance's two passes side by side, on twice the devices.
        hosts_per_gang: machines that one clip's devices are on.
        tiles: pieces in which a rank decodes frames, one after the other; none decodes them whole.
        dtype: precision; none is its card's.
        threads: CPU threads of a rank. For "cpu" also the cores that Ray books for it.
        num_cpus: cores that Ray books for a gang on this host; none is by device and threads.
        memory_gib: host memory that Ray books for a gang; none books nothing.
        text_cpus: cores that Ray books for its text encoder.
        text_threads: threads of its text encoder.
        text_memory_gib: host memory that Ray books for it; none books nothing.
        label_selector: Ray node labels that a gang's nodes must have.
        text_label_selector: the same of its text encoder's.
        drain_s: what a gang gets to put its clip down when it is to go: a step, and keeping the state.
        previews_every_s: how often a clip in work shows what it will be; none never.
    """

    model_config = FROZEN

    model: Name
    device: Name = "cpu"
    ulysses_degree: Count = 1
    cfg_degree: Literal[1, 2] = 1
    hosts_per_gang: Count = 1
    tiles: Count | None = None
    dtype: DType | None = None
    profile: Profile = "official"
    codec: Codec = "h264"
    threads: Count = 1
    num_cpus: float | None = Field(default=None, ge=0)
    memory_gib: Positive | None = None
    text_cpus: float = Field(default=0.05, ge=0)
    text_threads: Count = 1
    text_memory_gib: Positive | None = None
    label_selector: dict[str, str] = Field(default_factory=dict)
    text_label_selector: dict[str, str] = Field(default_factory=dict)
    drain_s: Seconds = 120.0
    previews_every_s: float | None = Field(default=2.0, ge=0.2)
    scaling: ScalingConfig = ScalingConfig()

    @model_validator(mode="after")
    def _hosts_share_evenly(self) -> ModelConfig:
        if self.parallel.degree % self.hosts_per_gang:
            raise ValueError(
                f"{self.parallel.degree} ranks are not to be spread evenly over {self.hosts_per_gang} hosts"
            )
        return self

    @property
    def parallel(self) -> ParallelPlan:
        """How the ranks of a gang share a clip."""
        return ParallelPlan(
            ulysses_degree=self.ulysses_degree, cfg_degree=self.cfg_degree, num_hosts=self.hosts_per_gang
        )

    @property
    def torch_device(self) -> str:
        """As torch names the kind."""
        return "cpu" if self.device == "cpu" else "cuda"
