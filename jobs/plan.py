"""`wanfarm plan`: what rendering would take. Starts nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from farm.cost import Fleet
from farm.degrees import Demand
from farm.errors import UsageError
from farm.models import chosen_model
from farm.plan import Plan, plan_run
from farm.settings import Settings
from jobs.calls import Asked, Degrees
from jobs.fleet import imagined_machine, lay_out, this_machine
from jobs.opening import open_output, options_of
from jobs.printing import aligned, byte_size, counted, say, say_json
from jobs.progress import duration
from jobs.summary import devices_of, planned_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFor:
    """What to plan for: this machine's devices, unless a kind is named (as in the price table), and how many."""

    device: str | None
    num_devices: int | None
    degrees: Degrees


def show_plan(manifest_uri: str, *, out: str | None, asked: Asked, planned_for: PlannedFor, as_json: bool) -> int:
    """0, or 1 where rows would be rejected."""
    settings = Settings.from_env()
    plan = plan_run(
        manifest_uri,
        model=chosen_model(asked.model, settings),
        options=options_of(asked),
        settings=settings,
        out=None if out is None else open_output(out, settings),
        fleet=lambda demands: _fleet(planned_for, demands, threads=settings.threads),
        strict=asked.strict,
        keep_columns=asked.keep_columns,
        publish=False,
    )
    if as_json:
        say_json(_document(plan))
    else:
        say([*planned_lines(plan, rejected_uri=None), "", *aligned(_figures(plan))])
    return 1 if plan.num_rejected else 0


def _fleet(planned_for: PlannedFor, demands: Sequence[Demand], *, threads: int | None) -> Fleet:
    num_devices, wanted = planned_for.num_devices, planned_for.degrees.wanted
    if num_devices is not None and num_devices < 1:
        raise UsageError(f"--devices must be at least 1, not {num_devices}")
    if planned_for.device is None and num_devices is None:
        machine = this_machine()
    else:
        machine = imagined_machine(planned_for.device, num_devices)
    return lay_out(machine, demands, wanted=wanted, threads=threads, workers=None).fleet


def _figures(plan: Plan) -> list[tuple[str, str]]:
    estimate, memory = plan.estimate, plan.estimate.memory
    unknown = "not known for this device; render a few clips first"
    end = estimate.finish_at(datetime.now().astimezone())
    wall = "" if estimate.wall_seconds is None else duration(estimate.wall_seconds)
    return [
        ("on", f"{devices_of(plan.fleet)} ({'measured' if estimate.is_measured else 'not measured'})"),
        *[("degree" if number == 0 else "", reason) for number, reason in enumerate(plan.fleet.reasons)],
        ("tokens", f"{estimate.num_tokens:,}"),
        ("work", f"{estimate.flops / 1e12:,.2f} TFLOP"),
        ("device time", unknown if estimate.device_seconds is None else duration(estimate.device_seconds)),
        ("ready in", unknown if end is None else f"{wall}, {end:%Y-%m-%d %H:%M}"),
        ("cost", unknown if estimate.cost is None else f"{estimate.cost:.4f} {estimate.currency}"),
        ("device memory", f"{byte_size(memory.device_bytes)} per device"),
        ("host memory", f"{byte_size(memory.host_bytes)} per gang, {byte_size(memory.encoder_bytes)} per encoder"),
        ("rows", f"{counted(plan.num_rows, 'row')}, {plan.num_rejected} rejected"),
    ]


def _document(plan: Plan) -> dict[str, object]:
    estimate = asdict(plan.estimate)
    end = plan.estimate.finish_at(datetime.now().astimezone())
    return {
        "run_id": plan.run_id,
        "model": plan.model.name,
        "rows": plan.num_rows,
        "rejected": plan.num_rejected,
        "clips": plan.num_clips,
        "done": plan.num_done,
        "failed": plan.num_failed,
        "remaining": plan.num_remaining,
        "warnings": dict(plan.warnings),
        "degrees": {
            **asdict(plan.fleet.parallel),
            "degree": plan.fleet.parallel.degree,
            "gangs": plan.fleet.num_actors,
            "tiles": plan.fleet.tiles,
            "fits": plan.fleet.fits,
            "expert_pools": None if plan.fleet.pools is None else asdict(plan.fleet.pools),
            "speed_up": round(plan.fleet.speed_up, 3),
            "efficiency": round(plan.fleet.speed_up / plan.fleet.parallel.degree, 3),
            "reasons": plan.fleet.reasons,
        },
        "estimate": {**estimate, "finish_at": None if end is None else end.isoformat(timespec="seconds")},
    }
