"""A real Prometheus: started on a free port, asked, listened to, ended."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from e2e_farm import wait_until

from services.endpoint import free_port, skip_or_fail, wait_until_open

PACKAGE = "prometheus"
START_S = 30.0
WATCH_S = 0.5
STEP_S = 2.0
ALERT_S = 180.0


@dataclass(frozen=True, slots=True)
class Curve:
    """One series of an answer, with its samples: seconds since the epoch, a `STEP_S` apart, and values.

    NaN is no sample.
    """

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An alert that fired, as it did last."""

    summary: str
    labels: Mapping[str, str]
    last_s: float


@dataclass
class Prometheus:
    """One that runs. `heard` gathers the alerts that fire, by name."""

    url: str
    begun_s: float = field(default_factory=time.time)
    heard: dict[str, Heard] = field(default_factory=dict)

    def curves(self, expr: str) -> list[Curve]:
        """What an expression was from the start until now; series without any sample are left out."""
        answer = self._get("query_range", query=expr, start=self.begun_s, end=time.time(), step=STEP_S)
        found = []
        for series in answer["result"]:
            values = [(float(at), float(value)) for at, value in series["values"]]
            if kept := tuple((at, value) for at, value in values if not math.isnan(value)):
                found.append(Curve(series["metric"], kept))
        return found

    def value(self, expr: str) -> float | None:
        """The first sample of an expression now."""
        result = self._get("query", query=expr)["result"]
        return float(result[0]["value"][1]) if result else None

    def count(self, counter: str, *, cluster: str) -> float:
        """What it came to, over all processes that there were, dead ones too."""
        name, _, matchers = counter.rstrip("}").partition("{")
        chosen = ",".join(filter(None, (f'cluster="{cluster}"', matchers)))
        value = self.value(f"sum(max_over_time({name}{{{chosen}}}[1h]))")
        return 0.0 if value is None else value

    def rules(self) -> list[dict[str, Any]]:
        """All rules as it sees them, with their health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def names(self) -> set[str]:
        """Of all series it has ever seen."""
        with urllib.request.urlopen(f"{self.url}/api/v1/label/__name__/values", timeout=20) as reply:
            return set(json.load(reply)["data"])

    def listen(self) -> None:
        """Take in the alerts that fire now."""
        asked_s = time.time()
        for alert in self._get("alerts")["alerts"]:
            labels = alert["labels"]
            if alert["state"] == "firing":
                summary = alert["annotations"]["summary"]
                self.heard[labels["alertname"]] = Heard(summary=summary, labels=labels, last_s=asked_s)

    def await_alert(self, name: str, *, since_s: float | None = None) -> None:
        """Return when it fires, or has since then."""
        since_s = time.time() if since_s is None else since_s

        def has_fired() -> bool:
            return name in self.heard and self.heard[name].last_s >= since_s

        wait_until(has_fired, timeout_s=ALERT_S, what=f"{name}; so far {sorted(self.heard)}")

    @contextmanager
    def provoked(self, *names: str, is_quiet_before: bool = True) -> Iterator[None]:
        """What is done in the block makes these alerts fire, of which none has fired before."""
        early = set(names) & set(self.heard)
        assert not (is_quiet_before and early), f"before they were provoked: {[self.heard[name] for name in early]}"
        since_s = time.time()
        yield
        for name in names:
            self.await_alert(name, since_s=since_s)

    def _get(self, what: str, **asked: object) -> Any:
        data = urllib.parse.urlencode({name: str(value) for name, value in asked.items()})
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{data}", timeout=20) as reply:
            return json.load(reply)["data"]


def missing_programs() -> list[str]:
    """What is not installed of what these tests need."""
    return [name for name in ("prometheus", "promtool") if shutil.which(name) is None]


def require_prometheus() -> None:
    """Skip, or fail where it must be there."""
    if missing := missing_programs():
        skip_or_fail("prometheus", f"not installed: {', '.join(missing)} (apt-get install {PACKAGE})")


@contextmanager
def running_prometheus(folder: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """One with that configuration, its data below the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path, port = folder / "prometheus.yml", free_port()
    path.write_text(yaml.safe_dump(dict(config)))
    address = f"127.0.0.1:{port}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "GOMAXPROCS": "1"},
        )
    try:
        wait_until_open(port, timeout_s=START_S)
        server, has_ended = Prometheus(f"http://{address}"), threading.Event()
        listener = threading.Thread(target=_listen, args=(server, has_ended), daemon=True)
        listener.start()
        try:
            yield server
        finally:
            has_ended.set()
            listener.join()
    finally:
        process.terminate()
        process.wait(timeout=30)


def _listen(server: Prometheus, has_ended: threading.Event) -> None:
    while not has_ended.wait(WATCH_S):
        with suppress(OSError, ValueError):
            server.listen()
