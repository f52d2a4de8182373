"""Gangs from none to several and back under a burst of jobs: prints the timeline that `/v1/queue` shows.

    python benchmarks/autoscale_timeline.py [--jobs 40] [--seconds 4] [--most 2]

A server of its own with the fake backend, whose clips take so many seconds each and no computing to speak of.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from serving import serving

SMALL = {"size": "64x64", "num_frames": 5, "num_inference_steps": 4}
LOOK_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--most", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), most=asked.most) as url:
        begun_s = time.monotonic()
        watch(url, begun_s, until=lambda queue: not queue["renderers"], timeout_s=120)
        for seed in range(asked.jobs):
            ask(f"{url}/v1/videos", {"prompt": f"a red circle fake:slow={asked.seconds}", "seed": seed, **SMALL})
        print(f"{time.monotonic() - begun_s:6.1f} s  {asked.jobs} jobs of {asked.seconds:g} s submitted")
        watch(url, begun_s, until=lambda queue: not is_done(queue), timeout_s=30)
        watch(url, begun_s, until=is_done, timeout_s=600)
        watch(url, begun_s, until=lambda queue: not queue["renderers"], timeout_s=120)


def is_done(queue: dict[str, Any]) -> bool:
    (model,) = queue["models"]
    return model["num_queued"] + model["num_running"] == 0


def watch(url: str, begun_s: float, *, until: Callable[[dict[str, Any]], bool], timeout_s: float) -> None:
    """Print a line for each change, until it is so."""
    last, end_s = None, time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        queue = ask(f"{url}/v1/queue")
        if queue["models"]:
            (model,) = queue["models"]
            now = (len(queue["renderers"]), model["num_running"])
            if now != last:
                ahead = f"{model['num_queued']} waiting, {model['backlog_seconds']:.0f} s of work ahead"
                print(f"{time.monotonic() - begun_s:6.1f} s  {now[0]} gangs, {now[1]} at work, {ahead}")
                last = now
            if until(queue):
                return
        time.sleep(LOOK_S)
    raise SystemExit(f"not so within {timeout_s:.0f} s")


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def served(folder: Path, *, most: int) -> Iterator[str]:
    scaling = {"min_replicas": 0, "max_replicas": most, "target_backlog_s": 10, "up_delay_s": 1, "down_delay_s": 5}
    model = {"model": "nano", "num_cpus": 0.5, "text_cpus": 0.0, "scaling": scaling | {"to_zero_s": 8}}
    few = {"num_cpus": 0.0}
    application = {
        "name": "wanfarm",
        "route_prefix": "/",
        "import_path": "deployments.app:build",
        "autoscaling_policy": {"policy_function": "deployments.autoscale:BacklogPolicy"},
        "args": {"out": str(folder / "out"), "models": [model], "servers": few, "dispatcher": few},
    }
    file = folder / "serve.yaml"
    file.write_text(
        yaml.safe_dump({"http_options": {"host": "127.0.0.1", "port": 8000}, "applications": [application]})
    )
    with serving("--config", str(file), environment={"WANFARM_ENGINE": "farm.workers.fake:FakeBackend"}) as url:
        yield url


if __name__ == "__main__":
    main()
