"""The whole application, as `serve deploy`, KubeRay and `wanfarm serve` are given it.

api          answers HTTP; as many replicas as configured      text-<model>      encodes prompts, on CPUs
dispatcher   keeps the queue in order; one                     renderer-<model>  a gang each; none to many
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig

from deployments.answering import ApiReplica
from deployments.config import AppConfig, ModelConfig
from deployments.dispatching import DispatcherReplica
from deployments.encoding import TextReplica
from deployments.names import API, DISPATCHER, renderer_name, short_names, text_name
from deployments.rendering import RendererReplica
from farm.workers.gang.hosts import bundle_of

# How often the dispatcher's word on gangs is taken to Serve's controller, and how long it remembers it.
WORD_S = 1.0
REMEMBER_S = 5.0
# Of calls that hang: event streams, renderers that wait for work.
MANY = 10_000
# Beyond the time that a gang has to put its clip down.
FAREWELL_S = 15.0
HEALTH_PERIOD_S = 5.0
# A gang that does not start is tried so often; weights that do not load would not be better the twentieth time.
START_TRIES = 4
CPUS_PER_GPU = 0.5


def build(args: Mapping[str, Any]) -> serve.Application:
    """The application of these arguments. UsageError naming every fault; touches no model and no storage."""
    config = AppConfig.parse(args)
    models = dict(zip(short_names([model.model for model in config.models]), config.models, strict=True))
    texts = {name: _text(model, name).bind(config, name) for name, model in models.items()}
    dispatcher = _dispatcher(config).bind(config, texts)
    renderers = [_renderer(model, name).bind(config, name, dispatcher, texts[name]) for name, model in models.items()]
    # It asks nothing of them: what no other part is given is no part of an application.
    return _api(config).bind(config, dispatcher, renderers)


def _api(config: AppConfig) -> serve.Deployment:
    servers = config.servers
    return serve.deployment(
        serve.ingress()(ApiReplica),
        name=API,
        num_replicas=servers.replicas,
        ray_actor_options={"num_cpus": servers.num_cpus},
        max_ongoing_requests=servers.max_ongoing_requests,
        max_queued_requests=servers.max_queued_requests,
    )


def _dispatcher(config: AppConfig) -> serve.Deployment:
    with warnings.catch_warnings():
        # The interval is to become an environment variable of the whole process; here it is one deployment's.
        warnings.simplefilter("ignore", DeprecationWarning)
        scaling = AutoscalingConfig(
            min_replicas=1, max_replicas=1, metrics_interval_s=WORD_S, look_back_period_s=REMEMBER_S
        )
    return serve.deployment(
        DispatcherReplica,
        name=DISPATCHER,
        ray_actor_options={"num_cpus": config.dispatcher.num_cpus},
        max_ongoing_requests=MANY,
        autoscaling_config=scaling,
        health_check_period_s=HEALTH_PERIOD_S,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=FAREWELL_S,
    )


def _text(model: ModelConfig, short_name: str) -> serve.Deployment:
    return serve.deployment(
        TextReplica,
        name=text_name(short_name),
        num_replicas=1,
        ray_actor_options=_booked(
            num_cpus=model.text_cpus, memory_gib=model.text_memory_gib, label_selector=model.text_label_selector
        ),
        max_ongoing_requests=MANY,
    )


def _renderer(model: ModelConfig, short_name: str) -> serve.Deployment:
    scaling = model.scaling
    return serve.deployment(
        RendererReplica,
        name=renderer_name(short_name),
        autoscaling_config=AutoscalingConfig(
            min_replicas=scaling.min_replicas,
            initial_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            upscale_delay_s=scaling.up_delay_s,
            downscale_delay_s=scaling.down_delay_s,
            downscale_to_zero_delay_s=scaling.to_zero_s,
        ),
        max_ongoing_requests=1,
        max_constructor_retry_count=START_TRIES,
        health_check_period_s=HEALTH_PERIOD_S,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=model.drain_s + FAREWELL_S,
        **_room_of(model),
    )


def _room_of(model: ModelConfig) -> dict[str, Any]:
    """Where a gang runs: its leader holds all devices, or a group of bundles has them, one for each host."""
    is_gpu, degree = model.device != "cpu", model.parallel.degree
    if model.hosts_per_gang == 1:
        cpus = CPUS_PER_GPU * degree if is_gpu else float(model.threads * degree)
        booked = _booked(
            num_cpus=cpus if model.num_cpus is None else model.num_cpus,
            memory_gib=model.memory_gib,
            label_selector=model.label_selector,
        )
        return {"ray_actor_options": booked | ({"num_gpus": degree} if is_gpu else {})}
    bundle = bundle_of(device=model.torch_device, num_ranks=model.parallel.ranks_per_host, threads=model.threads)
    leader_cpus = 0.0 if model.num_cpus is None else model.num_cpus
    first = bundle | {"CPU": bundle.get("CPU", 0.0) + leader_cpus}
    return {
        "ray_actor_options": {"num_cpus": leader_cpus},
        "placement_group_bundles": [first, *[bundle] * (model.hosts_per_gang - 1)],
        "placement_group_strategy": "STRICT_SPREAD",
        "placement_group_bundle_label_selector": [model.label_selector] if model.label_selector else None,
    }


def _booked(*, num_cpus: float, memory_gib: float | None, label_selector: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": num_cpus}
    if memory_gib is not None:
        options["memory"] = int(memory_gib * 2**30)
    if label_selector:
        options["label_selector"] = dict(label_selector)
    return options
