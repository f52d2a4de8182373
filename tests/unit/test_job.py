"""Jobs and their names: time order, the project's mark, what may not be a name, and that they survive the storage."""

from __future__ import annotations

import pytest
from example_clips import make_spec
from pydantic import ValidationError

from farm.queue import ids
from farm.queue.job import Job, JobFault, JobState


def make_job(**changes: object) -> Job:
    values = {"id": ids.new_job_id("ann", now_s=5.0), "project": "ann", "created_at": 5.0, "spec": make_spec()}
    return Job.model_validate({**values, "model": "nano", **changes})


def test_names_are_sorted_by_time_and_unique() -> None:
    times = [0.0, 0.001, 1.0, 1_700_000_000.0, 1_700_000_000.001, 4_000_000_000.0]
    names = [ids.new_job_id("ann", now_s=now_s) for now_s in times]
    assert names == sorted(names)
    assert [ids.created_at(name) for name in names] == pytest.approx(times, abs=0.0011)
    assert len({ids.new_job_id("ann", now_s=1.0) for _ in range(1000)}) == 1000
    assert all(ids.is_job_id(name) and len(name) == 32 for name in names)


def test_names_bear_their_projects_mark() -> None:
    tags = {project: ids.project_tag(project) for project in ("ann", "ben", "default")}
    assert len(set(tags.values())) == 3
    for project in tags:
        name = ids.new_job_id(project, now_s=9.0)
        assert [other for other, tag in tags.items() if ids.has_tag(name, tag)] == [project]


ZEROS = "0" * 26


@pytest.mark.parametrize("tail", ["", "../../etc/passwd", ZEROS[1:], ZEROS + "0", "8" + ZEROS[1:], "u" * 26, "A" * 26])
def test_what_is_no_name(tail: str) -> None:
    assert not ids.is_job_id(ids.PREFIX + tail)


@pytest.mark.parametrize("text", ["", ZEROS, "VIDEO_" + ZEROS, ids.PREFIX + ZEROS + "\n", ids.PREFIX + "０" * 26])
def test_what_only_looks_like_a_name(text: str) -> None:
    assert not ids.is_job_id(text)


def test_jobs_and_states_survive_the_storage() -> None:
    job = make_job(tags={"a": "ü"}, warnings=("few steps",), asked={"seconds": "4"}, ttl_s=60, device_seconds=1.5)
    assert Job.from_json(job.to_json()) == job
    assert Job.from_json(job.to_json()).to_json() == job.to_json()
    assert job.clip_id == make_spec().clip_id
    fault = JobFault(code="not_finite", message="NaN", field="guidance", advice="lower it")
    state = JobState(seq=2, epoch=1, status="failed", at=6.5, by="here:1", error=fault, attempts=3)
    assert JobState.from_json(state.to_json()) == state
    assert state.is_end


def test_what_a_newer_release_adds_is_kept() -> None:
    data = b'{"adapters":["x"],' + make_job().to_json()[1:]
    assert b'"adapters":["x"]' in Job.from_json(data).to_json()


@pytest.mark.parametrize("wrong", [{"project": "../x"}, {"project": "A"}, {"project": ""}, {"priority": 101}])
def test_what_is_no_job(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_job(**wrong)
