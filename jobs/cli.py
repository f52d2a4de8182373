"""The `wanfarm` command: its whole surface, and nothing else. What a command does lies in a module of its own name.

Those modules are imported when called: `wanfarm --help` has to be there at once, Ray and torch take seconds.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from farm.errors import FarmError, Interrupted, StorageError, TransientError, UsageError
from farm.logs import LogSetup, begin_logs
from farm.settings import Settings
from jobs.calls import (
    Asked,
    Degrees,
    Execution,
    FailureBudget,
    KeyAsked,
    KubeAsked,
    RemoteExecution,
    RenderCall,
    SubmitCall,
)
from jobs.guard import guarded
from jobs.printing import complain

JsonFlag = Annotated[bool, Parameter(name="--json", help="Print JSON instead of a table.")]


app = App(
    name="wanfarm",
    help="Render manifests of clips with Wan: planned, resumable, each clip exactly once.",
    version=lambda: version("wanfarm"),
    default_parameter=Parameter(negative=""),
    result_action="return_value",
)

_ASKED = Asked()
_EXECUTION = Execution()
_DEGREES = Degrees()
_REMOTE = RemoteExecution()
_KUBE = KubeAsked()


@app.command
def render(
    manifest: str,
    /,
    *,
    out: str,
    asked: Asked = _ASKED,
    max_failed: str = "0",
    expect_run: str | None = None,
    execution: Execution = _EXECUTION,
) -> int:
    """Render a manifest, or go on with one that was stopped.

    Exit codes: 0 all committed, 1 some rows rejected or failed, 2 unusable call or manifest, 75 interrupted, run again.

    Args:
        manifest: Parquet, JSONL or CSV, one row a clip; a path or URI.
        out: Folder or s3://bucket/prefix that clips and reports go to.
        max_failed: Bad rows that still count as success: 3 or 2%.
        expect_run: Refuse to be any other run than this.
    """
    from jobs.render import render_manifest

    return render_manifest(
        RenderCall(
            manifest=manifest,
            out=out,
            asked=asked,
            execution=execution,
            max_failed=FailureBudget.parse(max_failed),
            expect_run=expect_run,
        )
    )


@app.command
def submit(
    manifest: str,
    /,
    *,
    out: str,
    asked: Asked = _ASKED,
    max_failed: str | None = None,
    fingerprint: str | None = None,
    execution: RemoteExecution = _REMOTE,
    kube: KubeAsked = _KUBE,
    json: JsonFlag = False,
) -> int:
    """The same as render on a cluster, without waiting; a job that is at it already is found.

    Args:
        manifest: Parquet, JSONL or CSV, one row a clip; a path or URI.
        out: Folder or s3://bucket/prefix that every node of the cluster sees.
        max_failed: Bad rows that still count as success; 0, or 100% with --kube.
        fingerprint: The model's, where it is not on this machine.
    """
    from jobs.submit import submit_manifest

    call = SubmitCall(
        manifest=manifest,
        out=out,
        asked=asked,
        execution=execution,
        max_failed=max_failed,
        fingerprint=fingerprint,
        kube=kube,
    )
    return submit_manifest(call, as_json=json)


@app.command
def validate(manifest: str, /, *, asked: Asked = _ASKED, json: JsonFlag = False) -> int:
    """Name every fault of every row; render nothing.

    Args:
        manifest: Parquet, JSONL or CSV, one row a clip; a path or URI.
    """
    from jobs.validate import validate_manifest

    return validate_manifest(manifest, asked=asked, as_json=json)


@app.command
def plan(
    manifest: str,
    /,
    *,
    out: str | None = None,
    asked: Asked = _ASKED,
    device: str | None = None,
    devices: int | None = None,
    degrees: Degrees = _DEGREES,
    json: JsonFlag = False,
) -> int:
    """What rendering would take, in seconds, memory and money, and how many devices a clip would get.

    Args:
        manifest: Parquet, JSONL or CSV, one row a clip; a path or URI.
        out: Count what lies there as done, and use what was measured there.
        device: Kind of device to plan for, as in the price table; this machine's if absent.
        devices: How many of them; all that this machine has if absent.
    """
    from jobs.plan import PlannedFor, show_plan

    kind = PlannedFor(device=device, num_devices=devices, degrees=degrees)
    return show_plan(manifest, out=out, asked=asked, planned_for=kind, as_json=json)


@app.command
def status(out: str, /, *, json: JsonFlag = False) -> int:
    """How far the runs of an output are, read from storage alone.

    Args:
        out: Folder or s3://bucket/prefix.
    """
    from jobs.status import show_status

    return show_status(out, as_json=json)


@app.command
def watch(
    out: str,
    /,
    *,
    run: str | None = None,
    address: str | None = None,
    max_failed: str = "0",
    json: JsonFlag = False,
) -> int:
    """Follow a run to its end and return its exit code; 75 where its driver is gone, 130 after Ctrl-C.

    Args:
        out: Folder or s3://bucket/prefix.
        run: Which of several runs; one that is named need not have begun.
        address: Follow its job too: the cluster's Jobs API, http://HEAD:8265.
        max_failed: Bad rows that still count as success, where no job tells.
    """
    from jobs.watch import WatchCall, watch_run

    budget = FailureBudget.parse(max_failed)
    return watch_run(WatchCall(out=out, run_id=run, address=address, max_failed=budget), as_json=json)


@app.command
def pause(out: str, /, *, run: str | None = None) -> int:
    """Have a run put its clips down and wait.

    Args:
        out: Folder or s3://bucket/prefix.
        run: Which of several runs.
    """
    from jobs.control import control_run

    return control_run(out, "pause", run_id=run)


@app.command
def resume(out: str, /, *, run: str | None = None) -> int:
    """Lift a pause or a cancellation.

    Args:
        out: Folder or s3://bucket/prefix.
        run: Which of several runs.
    """
    from jobs.control import control_run

    return control_run(out, "resume", run_id=run)


@app.command
def cancel(out: str, /, *, run: str | None = None) -> int:
    """End a run with what is rendered; nobody goes on with it until it is resumed.

    Args:
        out: Folder or s3://bucket/prefix.
        run: Which of several runs.
    """
    from jobs.control import control_run

    return control_run(out, "cancel", run_id=run)


@app.command
def retry(
    out: str,
    /,
    *,
    failed: bool = False,
    clip: str | None = None,
    here: bool = False,
    execution: Execution = _EXECUTION,
) -> int:
    """Render clips again that were given up.

    Args:
        out: Folder or s3://bucket/prefix.
        failed: All of them.
        clip: Only this clip id.
        here: In this process, without Ray, so that a debugger can look.
    """
    if failed == (clip is not None):
        raise UsageError("retry takes either --failed or --clip ID")
    from jobs.retry import retry_clips

    return retry_clips(out, clip_id=clip, here=here, execution=execution)


@app.command
def verify(out: str, /, *, rerender: int = 0, json: JsonFlag = False) -> int:
    """Check every committed video against its record.

    Args:
        out: Folder or s3://bucket/prefix.
        rerender: Render so many clips again and compare: bytes on the same execution, PSNR otherwise.
    """
    from jobs.verify import verify_output

    return verify_output(out, num_rerender=rerender, as_json=json)


@app.command
def trace(
    uri: str,
    /,
    *,
    run: str | None = None,
    everything: Annotated[bool, Parameter(name="--all")] = False,
    out: str | None = None,
) -> int:
    """Draw when each gang was at which clip, for ui.perfetto.dev or chrome://tracing.

    Args:
        uri: Folder or s3://bucket/prefix.
        run: Which of several runs.
        everything: All clips of the output, those of online jobs too.
        out: File to write, packed if it ends in .gz; trace-RUN.json if absent.
    """
    from jobs.trace import trace_output

    return trace_output(uri, run_id=run, is_all=everything, file=out)


@app.command
def serve(
    *,
    out: str | None = None,
    model: list[str] | None = None,
    port: int | None = None,
    host: str | None = None,
    no_auth: bool = False,
    insecure: bool = False,
    config: str | None = None,
    check: str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    metrics_port: int | None = None,
) -> int:
    """Serve the videos API and its console on this machine, until told to stop; nothing asked for is ever lost.

    Args:
        out: Folder or s3://bucket/prefix that jobs and clips are in; out/serve if absent.
        model: A model's name or its folder; several times for several. nano if absent.
        port: 8000 if absent; 0 takes a free one.
        host: Address to listen on; 127.0.0.1 if absent.
        no_auth: Ask for no keys. On this machine's own address alone.
        insecure: With --no-auth, on any address.
        config: A Serve file to take all of this from; flags count for more.
        check: Name every fault of a Serve file, and start nothing.
        threads: CPU threads of one rank of a gang.
        workers: The most gangs of a model; as many as fit if absent.
        metrics_port: Where Prometheus finds this machine's metrics.
    """
    from jobs.serve import ServeCall, check_file, serve_here

    if check is not None:
        return check_file(check)
    return serve_here(
        ServeCall(
            out=out,
            models=tuple(model or ()),
            host=host,
            port=port,
            no_auth=no_auth,
            insecure=insecure,
            config=config,
            threads=threads,
            workers=workers,
            metrics_port=metrics_port,
        )
    )


keys = App(name="keys", help="API keys of an output, for the online service.", default_parameter=Parameter(negative=""))
app.command(keys)


@keys.command(name="create")
def create_key(out: str, /, *, asked: KeyAsked, json: JsonFlag = False) -> int:
    """Make a key and print it, this once: only its hash is kept.

    Args:
        out: Folder or s3://bucket/prefix that the service works in.
    """
    from jobs.keys import create_key as create

    return create(out, asked, as_json=json)


@keys.command(name="list")
def list_keys(out: str, /, *, json: JsonFlag = False) -> int:
    """All keys that were made, and what they may do.

    Args:
        out: Folder or s3://bucket/prefix that the service works in.
    """
    from jobs.keys import list_keys as show

    return show(out, as_json=json)


@keys.command(name="revoke")
def revoke_key(out: str, key_id: str, /) -> int:
    """Make a key useless for good; jobs that came with it go on.

    Args:
        out: Folder or s3://bucket/prefix that the service works in.
        key_id: As `list` shows it.
    """
    from jobs.keys import revoke_key as revoke

    return revoke(out, key_id)


@app.command(name="sample-manifest")
def sample_manifest(path: str = "prompts.parquet", /, *, model: str = "nano", rows: int = 8) -> int:
    """Write a manifest to start from.

    Args:
        path: Where to; .parquet, .jsonl or .csv.
        model: Whose sizes and lengths to use.
        rows: How many clips.
    """
    from jobs.sample import write_sample

    return write_sample(path, model=model, num_rows=rows)


@app.command
def models(*, json: JsonFlag = False) -> int:
    """List the models that --model knows by name."""
    from jobs.models import list_models

    return list_models(as_json=json)


@app.command
def inspect(path: str, /, *, fingerprint: bool = False, json: JsonFlag = False) -> int:
    """Say what a model folder holds; loads no weights.

    Args:
        path: The folder, or a model's name.
        fingerprint: Also the hash of all its files, which tells its runs from those of other weights.
    """
    from jobs.models import inspect_model

    return inspect_model(path, with_fingerprint=fingerprint, as_json=json)


def run(arguments: list[str] | None = None) -> int:
    """The command's exit code; what went wrong is one line on stderr."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _complain(str(error), code=2)
    except (StorageError, TransientError) as error:
        return _complain(f"{error}; run the same command again to go on", code=Interrupted.exit_code)
    except FarmError as error:
        return _complain(str(error), code=error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted; run the same command again to go on", code=Interrupted.exit_code)
    return code or 0


def main() -> None:
    arguments = sys.argv[1:]
    with suppress(UsageError):  # whoever reads the settings for a purpose tells what is wrong with them
        begin_logs(LogSetup.of(Settings.from_env(), role="command"))
    # A debugger that looks into --here needs the terminal.
    is_with_ray = arguments[:1] in (["render"], ["retry"], ["serve"]) and "--here" not in arguments
    sys.exit(guarded(run) if is_with_ray else run())


def _complain(message: str, *, code: int) -> int:
    complain(message)
    return code


if __name__ == "__main__":
    main()
