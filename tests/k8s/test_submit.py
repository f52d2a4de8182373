"""What `wanfarm submit --kube` makes of an overlay's job passes as the overlay does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.entry_point import execution_in, render_arguments, stop_environment
from jobs.kube import RUN_LABEL, as_yaml, rayjob_of, read_template
from k8s.checks.calls import render_jobs
from k8s.checks.checking import faults_of
from k8s.checks.overlays import OVERLAYS

JOBS = [f"{found.parent.name}/{found.name}" for found in OVERLAYS if found.name.startswith("job")]


@pytest.mark.parametrize("name", JOBS)
def test_a_submitted_job_has_no_fault(overlay: Any, name: str, tmp_path: Path) -> None:
    objects = overlay(name)
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    template = read_template(str(file))
    (before,) = render_jobs(objects)
    execution = execution_in(template["spec"]["entrypoint"])
    arguments = render_arguments(
        "s3://my-bucket/july/prompts.parquet",
        out="s3://my-bucket/july",
        run_id="a1b2c3",
        asked=before.asked,
        execution=replace(execution, address=None),
        max_failed="100%",
    )
    rayjob = rayjob_of(template, run_id="a1b2c3", arguments=arguments, environment=stop_environment(execution))
    submitted = yaml.safe_load(as_yaml(rayjob.named("farm-a1b2c3-1")))
    assert submitted["metadata"]["labels"].items() >= {**template["metadata"]["labels"], RUN_LABEL: "a1b2c3"}.items()
    (after,) = render_jobs([submitted])
    assert (after.asked, after.execution) == (before.asked, before.execution)
    others = [found for found in objects if found["kind"] != "RayJob"]
    assert faults_of([*others, submitted]) == []


def test_a_job_that_takes_nothing_from_its_template_would_be_refused(overlay: Any, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump_all(overlay("single-gpu/job")))
    template = read_template(str(file))
    arguments = ["wanfarm", "render", "s3://b/p.parquet", "--out=s3://b/o", "--model=/models/Wan2.1-T2V-1.3B"]
    rayjob = rayjob_of(template, run_id="a1b2c3", arguments=arguments, environment={})
    rules = {fault.rule for fault in faults_of([rayjob.named("farm-a1b2c3-1")])}
    assert {"entry-point", "gpus"} <= rules
