"""What the leading dispatcher does besides ordering: gauges, text states ahead of their turn, jobs whose time is over,
room among batch runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ray.serve.handle import DeploymentHandle

from deployments.config import AppConfig
from deployments.leading import Chore
from deployments.served import ServedModel
from deployments.sharing import RunsMakeRoom
from farm.metrics import Meter
from farm.queue.backlog import measure
from farm.queue.dispatch import Dispatcher
from farm.queue.retention import sweep
from farm.queue.store import JobStore
from farm.workers.ray_metrics import RayMeter

GAUGES_S = 5.0
PREFETCH_S = 1.0
SHARING_S = 2.0
REMEMBERED = 10_000
MOST_SWEEPS = 100


def chores_of(
    config: AppConfig, store: JobStore, models: Sequence[ServedModel], texts: Mapping[str, DeploymentHandle]
) -> list[Chore]:
    """All that the configuration asks for."""
    meter: Meter = RayMeter()
    chores = [
        Chore(name="gauges", every_s=GAUGES_S, do=lambda leader: measure(leader.backlog(), meter)),
        Chore(name="sweeping", every_s=config.retention.sweep_every_s, do=lambda _: sweep_all(store)),
    ]
    if config.dispatcher.prefetch_texts:
        prefetch = Prefetch(models, texts, count=config.dispatcher.prefetch_texts)
        chores.append(Chore(name="prefetching texts", every_s=PREFETCH_S, do=prefetch))
    if config.sharing.policy == "online_first":
        chores.append(Chore(name="sharing", every_s=SHARING_S, do=RunsMakeRoom(store.storage, config.sharing, models)))
    return chores


def sweep_all(store: JobStore) -> None:
    """Remove what may go, for as long as there is any; but not for ever."""
    for _ in range(MOST_SWEEPS):
        if not sweep(store).is_more:
            return


class Prefetch:
    """Has the prompts of the next jobs encoded before their turn. What is not done in time their renderer asks for."""

    def __init__(self, models: Sequence[ServedModel], texts: Mapping[str, DeploymentHandle], *, count: int) -> None:
        self._models = models
        self._texts = texts
        self._count = count
        self._asked = OrderedDict[tuple[str, str], None]()

    def __call__(self, leader: Dispatcher) -> None:
        for model in self._models:
            prompts = list[str]()
            for job in leader.upcoming(model.name, self._count):
                prompts += [job.spec.prompt, *([job.spec.negative_prompt] if job.spec.is_guided else [])]
            fresh = [prompt for prompt in dict.fromkeys(prompts) if (model.name, prompt) not in self._asked]
            if not fresh:
                continue
            self._texts[model.short_name].prefetch.remote(fresh)
            for prompt in fresh:
                self._asked[model.name, prompt] = None
        while len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)
