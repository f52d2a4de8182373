"""Drives `wanfarm serve` as a person would: the command in processes of its own, asked over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from e2e_farm import wait_until

from farm.ledger import committed_ids, read_records
from farm.storage import Storage, open_storage

START_S = 120.0
# Its last line before it waits for a signal.
READY = "ready; stop with Ctrl-C"
# Few pixels and steps: what is made takes no time but what its prompt asks for.
SMALL: Mapping[str, Any] = {"size": "32x32", "num_frames": 5, "num_inference_steps": 4}
ENDS = ("completed", "failed", "cancelled")


class Served:
    """One server and its output."""

    def __init__(self, folder: Path, *, model: str, environment: Mapping[str, str], out: str | None = None) -> None:
        self.folder = folder
        self.model = model
        self.out = out or str(folder / "out")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("WANFARM_", "RAY_"))},
            "WANFARM_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self.url = ""
        self.key: str | None = None
        self.said: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self, *flags: str, auth: bool = False) -> None:
        """Return when it answers and is ready."""
        open_door = [] if auth else ["--no-auth"]
        model = [] if "--config" in flags else ["--model", self.model]
        command = [sys.executable, "-m", "jobs.cli", "serve", "--port", "0", "--out", self.out, *model, *open_door]
        self.said = []
        self.process = subprocess.Popen(
            [*command, *flags],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
        wait_until(self._has_begun, timeout_s=START_S, what="the server")
        self.url = next(found[0] for line in self.said if (found := re.search(r"http://[^\s,]+", line)))

    def _has_begun(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.said}")
        return self.said[-1:] == [READY]

    def _listen(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self.said.append(line.rstrip("\n"))

    def ask(self, method: str, path: str, body: object = None, *, timeout_s: float = 30.0) -> tuple[int, Any]:
        """Status and JSON (or bytes, where it is none)."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=timeout_s)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        with contextlib.suppress(ValueError):
            return answer.status, json.loads(content)
        return answer.status, content

    def submit(self, prompt: str, *, seed: int = 0, **fields: Any) -> str:
        """A job's id."""
        status, answer = self.ask("POST", "/v1/videos", {"prompt": prompt, "seed": seed, **SMALL, **fields})
        assert status in (200, 201), answer
        return str(answer["id"])

    def submit_many(self, count: int, *, slow_s: float = 0.0) -> list[str]:
        """Jobs of different seeds."""
        prompt = "a red circle" + (f" fake:slow={slow_s}" if slow_s else "")
        return [self.submit(prompt, seed=number) for number in range(count)]

    def video(self, job_id: str) -> dict[str, Any]:
        status, answer = self.ask("GET", f"/v1/videos/{job_id}")
        assert status == 200, answer
        return dict(answer)

    def status(self, job_id: str) -> str:
        return str(self.video(job_id)["status"])

    def await_status(self, job_id: str, *statuses: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """The video once it is of one of these."""
        wait_until(lambda: self.status(job_id) in statuses, timeout_s=timeout_s, what=f"{job_id} to be {statuses}")
        return self.video(job_id)

    def await_ends(self, job_ids: Iterable[str], *, timeout_s: float) -> Counter[str]:
        """How many ended how."""
        left, ended = list(job_ids), Counter[str]()
        deadline_s = time.monotonic() + timeout_s
        while left:
            status = self.status(left[-1])
            if status in ENDS:
                ended[status] += 1
                left.pop()
            else:
                queue = self.ask("GET", "/v1/queue")[1]
                assert time.monotonic() < deadline_s, (
                    f"{len(left)} have not ended, {ended}; {left[-1]}: {status}; {queue}"
                )
                time.sleep(0.2)
        return ended

    @property
    def storage(self) -> Storage:
        return open_storage(self.out)

    def committed(self) -> set[str]:
        return committed_ids(self.storage)

    def records(self) -> list[dict[str, Any]]:
        return list(read_records(self.storage))

    def processes(self, name: str = "") -> list[psutil.Process]:
        """All below the command; those whose command line holds a name ("ServeReplica:wanfarm:dispatcher")."""
        if self.process is None:
            return []
        found = list[psutil.Process]()
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if name in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                        found.append(child)
        return found

    def kill(self, name: str) -> int:
        """SIGKILL to all of a name; how many there were."""
        found = self.processes(name)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return len(found)

    def kill_all(self) -> int:
        """SIGKILL to every process of the cluster and the command itself, at once."""
        found = self.processes()
        if self.process is not None:
            self.process.kill()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=30)
        if self.process is not None:
            self.process.wait(timeout=30)
        return len(found) + 1

    def stop(self, *, timeout_s: float = 90.0) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=timeout_s)

    def end(self) -> None:
        """Whatever a test has left."""
        if self.process is not None and self.process.poll() is None:
            self.kill_all()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
