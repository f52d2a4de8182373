"""The videos API with nano under Prometheus, and every fault that an alert on serving is about."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml
from e2e_farm import wait_until
from served import Served
from services.prometheus import Prometheus

ROOT = Path(__file__).parents[1]
NUM_JOBS, NUM_LAST = 20, 4
CLIP: dict[str, Any] = {"size": "64x64", "num_frames": 17, "num_inference_steps": 20}
DISPATCHER, RENDERER = "ServeReplica:wanfarm:dispatcher", "ServeReplica:wanfarm:renderer"


def run_online(server: Served, prometheus: Prometheus, *, port: int, discovery: Path) -> None:
    """From no renderer at all to jobs that are done, with the dispatcher standing still in between."""
    server.start("--config", str(config_of(server)), "--metrics-port", str(port))
    discovery.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"]}]))
    scraped = "sum(farm_submissions_total)"
    wait_until(lambda: prometheus.value(scraped) is not None, timeout_s=60, what=scraped)
    with prometheus.provoked("FarmBacklogLong", "FarmJobsWait"):
        with held(server, RENDERER), prometheus.provoked("FarmNoRenderers"):
            jobs = [server.submit("a red circle moves right", seed=seed, **CLIP) for seed in range(NUM_JOBS)]
        assert server.await_ends(jobs, timeout_s=240) == {"completed": NUM_JOBS}
    again = server.submit("a red circle moves right", seed=0, **CLIP)
    assert server.video(again)["from_ledger"]
    assert server.ask("POST", "/v1/videos", {"prompt": 7})[0] == 422
    stand_still(server, prometheus)
    last = [server.submit("a blue circle moves left", seed=seed, **CLIP) for seed in range(NUM_LAST)]
    assert server.await_ends(last, timeout_s=240) == {"completed": NUM_LAST}


def config_of(server: Served) -> Path:
    """The committed file for nano, scaled from zero."""
    values = yaml.safe_load((ROOT / "deployments/config/nano.yaml").read_text())
    (application,) = values["applications"]
    application["args"]["out"] = server.out
    application["args"]["models"][0]["scaling"] = {"min_replicas": 0, "max_replicas": 1, "target_backlog_s": 5}
    values["http_options"] = {"host": "127.0.0.1", "port": 8000}
    path = server.folder / "serve.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@contextmanager
def held(server: Served, name: str) -> Iterator[None]:
    """Processes of that name stand still as soon as they come."""
    over, stopped = threading.Event(), dict[int, psutil.Process]()

    def stop_each() -> None:
        while not over.wait(0.2):
            for process in server.processes(name):
                if process.pid not in stopped:
                    stopped[process.pid] = process
                    process.send_signal(signal.SIGSTOP)

    thread = threading.Thread(target=stop_each, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for process in stopped.values():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def stand_still(server: Served, prometheus: Prometheus) -> None:
    """The dispatcher neither hands out jobs nor says how many there are."""
    (dispatcher,) = server.processes(DISPATCHER)
    with prometheus.provoked("FarmDispatcherAway", is_quiet_before=False):
        dispatcher.send_signal(signal.SIGSTOP)
        try:
            prometheus.await_alert("FarmDispatcherAway")
        finally:
            with suppress(psutil.NoSuchProcess):  # Serve may have replaced it
                dispatcher.send_signal(signal.SIGCONT)
