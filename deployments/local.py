"""Serve on this machine's own Ray: started, watched and ended by the process that `wanfarm serve` is."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.names import APPLICATION

POLL_S = 0.25

# For Ray's processes, which inherit it. Their logs lie in the session's folder; nobody reads them as they come.
ENVIRONMENT = {"RAY_SERVE_LOG_TO_STDERR": "0"}

_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")
_OUR_ERROR = re.compile(r"farm\.errors\.\w+: (.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """Serve's word on the application: `fault` says why it does not work, in a line."""

    is_there: bool
    is_ready: bool
    num_gangs: int
    fault: str | None


class LocalServe:
    """One application on a Ray that is up. Starts Serve when made; `values` are a Serve file's."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        from ray.serve._private.api import serve_start
        from ray.serve.schema import ServeDeploySchema

        schema = ServeDeploySchema.model_validate(values)
        client = serve_start(
            proxy_location=schema.proxy_location,
            http_options=schema.http_options.model_dump(),
            global_logging_config=schema.logging_config,
        )
        client.deploy_apps(schema)

    def state(self) -> AppState:
        """As it is now."""
        from ray import serve

        found = serve.status().applications.get(APPLICATION)
        if found is None:
            return AppState(is_there=False, is_ready=False, num_gangs=0, fault=None)
        status = str(found.status.value)
        ready = [
            int(deployment.replica_states.get("RUNNING", 0))
            for name, deployment in found.deployments.items()
            if name.startswith("renderer-")
        ]
        return AppState(
            is_there=True,
            is_ready=status == "RUNNING",
            num_gangs=sum(ready),
            fault=_fault(found) if status in _FAILED else None,
        )

    def begin_end(self) -> None:
        """Have the application taken away, its clips put down at a kept state."""
        from ray import serve

        serve.delete(APPLICATION, _blocking=False)

    def is_gone(self) -> bool:
        """Whether it has been, to the last replica."""
        time.sleep(POLL_S)
        return not self.state().is_there


def _fault(found: Any) -> str:
    """What is the matter with an application; its deployments' own words come before Serve's summary of them."""
    messages = [f"{name}: {_in_a_line(one.message)}" for name, one in found.deployments.items() if one.message.strip()]
    return "; ".join(messages) or _in_a_line(found.message or str(found.status.value))


def _in_a_line(message: str) -> str:
    """The fault that is ours if there is one, of a message that is mostly a traceback."""
    own = _OUR_ERROR.findall(message)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return str(own[-1]) if own else lines[-1]
