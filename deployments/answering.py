"""The replicas that answer HTTP."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from deployments.api.app import make_app
from deployments.clients import DispatchClient
from deployments.config import AppConfig
from deployments.opening import open_service
from farm.settings import Settings
from farm.workers.observing import begin_observed
from farm.workers.ray_metrics import RayMeter

# A thread that comes back from the storage waits so long, by default 5 ms, for another that computes; a submission
# comes back a dozen times.
SWITCH_S = 0.0005


class ApiReplica:
    """The door; all state is in the output. `renderers` are only told to belong to the application."""

    def __init__(self, config: AppConfig, dispatcher: DeploymentHandle, renderers: Sequence[DeploymentHandle]) -> None:
        sys.setswitchinterval(SWITCH_S)
        begin_observed(Settings.from_env(), role="api")
        self._config = config
        self._dispatcher = dispatcher

    def __serve_build_asgi_app__(self) -> FastAPI:
        return make_app(open_service(self._config, DispatchClient(self._dispatcher), meter=RayMeter()))
