"""`wanfarm submit`: the same as render, on a cluster, without waiting for it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Any

from farm.errors import RunHeldError, UsageError
from farm.ledger import RunLease
from farm.ledger.lease import LEASE_S
from farm.settings import Settings
from farm.storage import Storage
from jobs.calls import FailureBudget, SubmitCall
from jobs.entry_point import execution_in, over, render_arguments, stop_environment
from jobs.handing_over import hand_over
from jobs.opening import open_output
from jobs.printing import say, say_json
from jobs.ray_jobs import RaySubmission, connect
from jobs.submissions import JobStore, Taken, job_name, take_up, unfinished_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What is to be run, for whom it may concern."""

    run_id: str
    manifest: str
    arguments: list[str]
    environment: dict[str, str]


def submit_manifest(call: SubmitCall, *, as_json: bool) -> int:
    """0, also where a job of the same run is found. Errors as drawn in `farm.errors`."""
    _check(call)
    settings = Settings.from_env()
    out = open_output(call.out, settings)
    submit = _to_ray if call.kube.kube is None else _to_kube
    return submit(call, out, settings, as_json)


def _check(call: SubmitCall) -> None:
    FailureBudget.parse(call.max_failed or "0")
    replace(call.execution, address="auto").check()
    if call.kube.kube is None and (call.kube.kube_apply or call.kube.namespace is not None):
        raise UsageError("--kube-apply and --namespace go with --kube RAYJOB.yaml")
    if call.kube.kube is not None and call.execution.address is not None:
        raise UsageError("submit takes either --address or --kube")


def _to_ray(call: SubmitCall, out: Storage, settings: Settings, as_json: bool) -> int:
    jobs = connect(call.execution.address)
    run = _run_of(call, out, settings, max_failed="0")
    entry_point = shlex.join(run.arguments)
    store = RaySubmission(jobs=jobs, entry_point=entry_point, environment=run.environment)
    taken = _take_up(store, run.run_id, out)
    where = ["--address", jobs.address]
    log = shlex.join(["ray", "job", "logs", *where, "--follow", taken.name])
    _tell(run, taken, out, as_json=as_json, where=where, log=log)
    return 0


def _to_kube(call: SubmitCall, out: Storage, settings: Settings, as_json: bool) -> int:
    from jobs.kube import KubeSubmission, as_yaml, rayjob_of, read_template

    template = read_template(str(call.kube.kube))
    # Degrees, devices and ports suit the template's cluster; an address is no longer asked for.
    wanted = over(call.execution, replace(execution_in(template["spec"]["entrypoint"]), address=None))
    call = replace(call, execution=wanted)
    # To Kubernetes a bad row would be a failed job, for which it brings a new cluster.
    run = _run_of(call, out, settings, max_failed="100%")
    rayjob = rayjob_of(
        template,
        run_id=run.run_id,
        arguments=run.arguments,
        environment=run.environment,
        namespace=call.kube.namespace,
    )
    if not call.kube.kube_apply:
        say([as_yaml(rayjob.named(job_name(run.run_id, 1)))])
        return 0
    taken = _take_up(KubeSubmission(rayjob=rayjob), run.run_id, out)
    log = shlex.join(["kubectl", "describe", *rayjob.scope, f"rayjob/{taken.name}"])
    # A cancelled run ends with 1: left alone, KubeRay would bring a new cluster to find that it is cancelled.
    removal = shlex.join(["kubectl", "delete", *rayjob.scope, f"rayjob/{taken.name}"])
    _tell(run, taken, out, as_json=as_json, where=[], log=log, removal=removal)
    return 0


def _run_of(call: SubmitCall, out: Storage, settings: Settings, *, max_failed: str) -> _Run:
    handed = hand_over(call.manifest, out=out, asked=call.asked, settings=settings, fingerprint=call.fingerprint)
    arguments = render_arguments(
        handed.manifest,
        out=out.uri,
        run_id=handed.run_id,
        asked=handed.asked,
        execution=call.execution,
        max_failed=call.max_failed or max_failed,
    )
    return _Run(
        run_id=handed.run_id,
        manifest=handed.manifest,
        arguments=arguments,
        environment=stop_environment(call.execution),
    )


def _take_up(store: JobStore, run_id: str, out: Storage) -> Taken:
    """The run's job. RunHeldError where something else drives it: another job would only be refused there."""
    holder = RunLease(out, run_id).held_by()
    if holder is not None and unfinished_of(store.jobs_of(run_id), run_id) is None:
        raise RunHeldError(
            f"run {run_id} is being driven by process {holder.pid} on {holder.host}, and by no job of this cluster; "
            f"wait for it or stop it (a lease whose holder died ends after {LEASE_S:.0f} s)"
        )
    return take_up(store, run_id)


def _tell(
    run: _Run, taken: Taken, out: Storage, *, as_json: bool, where: list[str], log: str, removal: str | None = None
) -> None:
    run_flags = [out.uri, "--run", run.run_id]
    watch = shlex.join(["wanfarm", "watch", *run_flags, *where])
    if as_json:
        facts: dict[str, Any] = {"run_id": run.run_id, "job": taken.name, "was_there": taken.was_there}
        say_json({**facts, "status": taken.status, "manifest": run.manifest, "entry_point": run.arguments})
        return
    head = f"job {taken.name} is at it already ({taken.status})" if taken.was_there else f"submitted job {taken.name}"
    say([head, f"  follow it:  {watch}", f"  its log:    {log}"])
    say([f"  stop it:    {shlex.join(['wanfarm', 'cancel', *run_flags])}"])
    say([] if removal is None else [f"  and then:   {removal}"])
