"""Upgrades while clips are being rendered: a second cluster beside the first on one OUT, and a new version in place."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from e2e_farm import wait_until
from e2e_folders import write_fake_folder
from served import Served

FAKE = {"WANFARM_ENGINE": "farm.workers.fake:FakeBackend"}
NUM_JOBS = 12
SLOW_S = 8.0  # of four steps

pytestmark = pytest.mark.slow

# What `serve deploy` does with a file, from a driver of its own.
DEPLOY = """
import sys
from pathlib import Path
import ray
from deployments.config.serve_file import parse_serve_file, serve_values
from deployments.local import LocalServe
address, path, port = sys.argv[1:]
(config,) = parse_serve_file(Path(path).read_text(), source=path).applications.values()
ray.init(address=address, namespace="serve", log_to_driver=False, logging_level="ERROR")
LocalServe(serve_values(config, host="127.0.0.1", port=int(port)))
"""


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Served]:
    model = write_fake_folder(tmp_path / "fake")
    served = Served(tmp_path, model=str(model), environment=FAKE)
    yield served
    served.end()


@pytest.fixture
def new(old: Served) -> Iterator[Served]:
    """On the same OUT."""
    served = Served(old.folder, model=old.model, environment=FAKE)
    yield served
    served.end()


def test_a_second_cluster_takes_over_from_the_first(old: Served, new: Served) -> None:
    """As KubeRay upgrades a RayService: both are there for a while, then the old one is told to go."""
    old.start()
    job_ids = [old.submit(f"begun before fake:slow={SLOW_S}", seed=99), *old.submit_many(NUM_JOBS, slow_s=0.4)]
    _await_first_step(old, job_ids[0])
    new.start()
    job_ids += [new.submit("to the new one", seed=seed) for seed in range(4)]
    job_ids.append(old.submit(f"in work when the old one goes fake:slow={SLOW_S}", seed=100))
    _await_first_step(old, job_ids[-1])

    assert old.stop() == 0

    assert new.await_ends(job_ids, timeout_s=120) == {"completed": len(job_ids)}
    _assert_each_once(new, job_ids)
    assert new.stop() == 0


def test_a_new_version_is_rolled_out_in_place(old: Served, tmp_path: Path) -> None:
    """As `serve deploy` does: replicas are replaced, clips in work put down and gone on with."""
    file = tmp_path / "serve.yaml"
    _write_file(file, old, previews_every_s=2.0)
    old.start("--config", str(file))
    job_ids = [old.submit(f"in work fake:slow={SLOW_S}", seed=99), *old.submit_many(NUM_JOBS, slow_s=0.4)]
    _await_first_step(old, job_ids[0])
    before = _replicas(old)

    _write_file(file, old, previews_every_s=3.0)
    address = _gcs_address(old)
    command = [sys.executable, "-c", DEPLOY, address, str(file), str(urlsplit(old.url).port)]
    subprocess.run(command, env=old.environment, check=True, timeout=60)
    job_ids += [old.submit("submitted meanwhile", seed=seed) for seed in range(4)]

    assert old.await_ends(job_ids, timeout_s=120) == {"completed": len(job_ids)}
    wait_until(lambda: not before & _replicas(old), timeout_s=60, what="new replicas")
    _assert_each_once(old, job_ids)
    (record,) = [one for one in old.records() if one["clip_id"] == old.video(job_ids[0])["clip_id"]]
    assert record["resumed_at"]
    assert record["attempts"] == 1


def _await_first_step(served: Served, job_id: str) -> None:
    wait_until(lambda: (served.video(job_id)["step"] or 0) >= 1, timeout_s=60, what="its first step")


def _assert_each_once(served: Served, job_ids: list[str]) -> None:
    records = Counter(record["clip_id"] for record in served.records())
    assert records == Counter(served.video(job_id)["clip_id"] for job_id in job_ids)
    assert set(records.values()) == {1}


def _replicas(served: Served) -> set[int]:
    return {process.pid for process in served.processes("ServeReplica:wanfarm:renderer-fake")}


def _gcs_address(served: Served) -> str:
    lines = (" ".join(process.cmdline()) for process in served.processes("raylet"))
    return next(found[1] for line in lines if (found := re.search(r"--gcs-address=(\S+)", line)))


def _write_file(path: Path, served: Served, *, previews_every_s: float) -> None:
    few = {"num_cpus": 0.0}
    model = {"model": served.model, "num_cpus": 0.5, "text_cpus": 0.0, "previews_every_s": previews_every_s}
    application = {
        "name": "wanfarm",
        "route_prefix": "/",
        "import_path": "deployments.app:build",
        "autoscaling_policy": {"policy_function": "deployments.autoscale:BacklogPolicy"},
        "args": {"out": served.out, "models": [model], "servers": few, "dispatcher": few, "api": {"is_open": True}},
    }
    path.write_text(
        yaml.safe_dump({"http_options": {"host": "127.0.0.1", "port": 8000}, "applications": [application]})
    )
