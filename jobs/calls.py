"""What the command line asks for, as frozen values: the flags that several commands share, and a failure budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from farm.errors import UsageError
from farm.parallelism import ExpertPools, Goal, Wanted

ProfileFlag = Literal["official", "diffusers"]
CodecFlag = Literal["h264", "av1", "lossless"]
DTypeFlag = Literal["float32", "bfloat16"]
CfgFlag = Literal[1, 2]
ScopeFlag = Literal["submit", "read", "admin"]

MAX_PORT = 65535


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a manifest's rows become clips. All of it decides clip ids, or which rows are taken."""

    model: Annotated[str, Parameter(help="A model's name or its folder.")] = "nano"
    profile: Annotated[ProfileFlag, Parameter(help="Whose arithmetic: Wan's own code or diffusers'.")] = "official"
    codec: Annotated[CodecFlag, Parameter(help="How the video is encoded.")] = "h264"
    dtype: Annotated[DTypeFlag | None, Parameter(help="The model's precision; its card's if absent.")] = None
    seed: Annotated[int, Parameter(help="Feeds the seeds of rows that have none.")] = 0
    strict: Annotated[bool, Parameter(help="Refuse a manifest with any bad row.")] = False
    keep_columns: Annotated[bool, Parameter(help="Carry unknown columns to the results.")] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Degrees:
    """How many devices render one clip together; what is absent the planner chooses."""

    ulysses_degree: Annotated[int | None, Parameter(help="Devices that share a clip's tokens.")] = None
    cfg_degree: Annotated[CfgFlag | None, Parameter(help="2: guidance's two passes side by side.")] = None
    hosts_per_gang: Annotated[int | None, Parameter(help="Machines that one clip's devices are on.")] = None
    goal: Annotated[Goal | None, Parameter(help="Most clips an hour, or each clip soonest.")] = None

    expert_pools: Annotated[ExpertPools, Parameter(help="A model's two experts on gangs of their own.")] = "auto"

    @property
    def wanted(self) -> Wanted:
        """As the planner takes it. UsageError for counts below 1."""
        for name, count in (("--ulysses-degree", self.ulysses_degree), ("--hosts-per-gang", self.hosts_per_gang)):
            if count is not None and count < 1:
                raise UsageError(f"{name} must be at least 1, not {count}")
        return Wanted(
            ulysses_degree=self.ulysses_degree,
            cfg_degree=self.cfg_degree,
            num_hosts=self.hosts_per_gang,
            goal=self.goal,
            expert_pools=self.expert_pools,
        )


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Where and how clips are made. None of it changes a clip's id; threads and degrees are noted in its record."""

    threads: Annotated[int | None, Parameter(help="CPU threads of one rank of a gang.")] = None
    workers: Annotated[int | None, Parameter(help="Gangs that render; as many as fit if absent.")] = None
    address: Annotated[str | None, Parameter(help="Join this Ray cluster instead of starting one here.")] = None
    grace: Annotated[float, Parameter(help="Seconds that steps in work get after a signal.")] = 30.0
    gpus: Annotated[int | None, Parameter(help="Have the joined cluster bring so many first.")] = None
    metrics_port: Annotated[int | None, Parameter(help="Gauges of the run; a Ray started here gets the next.")] = None
    degrees: Annotated[Degrees, Parameter(name="*")] = Degrees()

    def check(self) -> None:
        """UsageError where GPUs are asked of nobody, or a port is none."""
        if self.metrics_port is not None and not 0 < self.metrics_port < MAX_PORT:
            raise UsageError(f"--metrics-port takes a port from 1 to {MAX_PORT - 1}, not {self.metrics_port}")
        if self.gpus is not None and (self.gpus < 1 or self.address is None):
            raise UsageError("--gpus takes a number from 1 on, of a cluster that --address joins")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteExecution(Execution):
    """The same on a cluster that a call is submitted to."""

    address: Annotated[str | None, Parameter(help="The cluster's Jobs API: http://HEAD:8265.")] = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class KubeAsked:
    """Kubernetes in place of a cluster that runs already."""

    kube: Annotated[str | None, Parameter(help="Print this file's RayJob, made to render it.")] = None
    kube_apply: Annotated[bool, Parameter(help="Create that RayJob by kubectl.")] = False
    namespace: Annotated[str | None, Parameter(help="Namespace of that RayJob.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureBudget:
    """How many rejected and failed rows still count as success: a number of rows or a share of all."""

    rows: int = 0
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> FailureBudget:
        """ "3" or "0.5%". UsageError for anything else."""
        try:
            budget = cls(percent=float(text[:-1])) if text.endswith("%") else cls(rows=int(text))
        except ValueError:
            budget = cls(rows=-1)
        if budget.rows < 0 or not 0 <= (budget.percent or 0) <= 100:
            raise UsageError(f"--max-failed takes a number of rows or a share like 2%, not {text!r}")
        return budget

    def allows(self, num_failed: int, *, num_rows: int) -> bool:
        """Whether a run that ended with so many bad rows is a success."""
        limit = self.rows if self.percent is None else num_rows * self.percent / 100
        return num_failed <= limit


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderCall:
    """`wanfarm render` as it was called. `expect_run`: the only run that it may turn out to be."""

    manifest: str
    out: str
    asked: Asked
    execution: Execution
    max_failed: FailureBudget
    expect_run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitCall:
    """`wanfarm submit` as it was called. `max_failed` None: as suits where it goes."""

    manifest: str
    out: str
    asked: Asked
    execution: RemoteExecution
    max_failed: str | None
    fingerprint: str | None
    kube: KubeAsked


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAsked:
    """What a new API key is to be. Limits that are absent are the service's."""

    name: Annotated[str, Parameter(help="Whose it is, for people.")]
    project: Annotated[str, Parameter(help="Whose jobs it makes and sees.")] = "default"
    scope: Annotated[tuple[ScopeFlag, ...], Parameter(help="What it may do; may be repeated.")] = ("submit", "read")
    max_open_jobs: Annotated[int | None, Parameter(help="Jobs that are not at their end.")] = None
    requests_per_minute: Annotated[int | None, Parameter(help="Submissions and other changes.")] = None
    max_device_seconds: Annotated[float | None, Parameter(help="Estimated work of its waiting jobs.")] = None
    weight: Annotated[float, Parameter(help="Its share beside others; 2 gets twice as much as 1.")] = 1.0
    expires_days: Annotated[float | None, Parameter(help="Days until it opens nothing any more.")] = None
