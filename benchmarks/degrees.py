"""Time a clip of the embedded model by gangs of several degrees, in turns. Gloo, on the CPU.

    python benchmarks/degrees.py [--rounds 5] [--steps 20]

Every gang of a row has as many cores as any other: one rank of two threads, or two ranks of one. Shown are the medians
of seconds from order to last frame, and how much sooner than one rank of one thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from farm.models import resolve_model
from farm.normalise import normalise
from farm.parallelism import ParallelPlan
from farm.request import RowRequest
from farm.settings import Settings
from farm.spec import ClipSpec, RenderOptions
from farm.workers.engine import WAN_BACKEND, ClipText, ModelPlan, Order, Unwatched
from farm.workers.gang import Gang
from farm.workers.wan import WanBackend

PROMPT = "a red circle moving right on a blue background"
SHAPES = ((64, 64, 17), (96, 64, 25))
WAYS = {
    "one rank, 1 thread": (1, ParallelPlan()),
    "one rank, 2 threads": (2, ParallelPlan()),
    "ulysses 2, 1 thread each": (1, ParallelPlan(ulysses_degree=2)),
    "cfg 2, 1 thread each": (1, ParallelPlan(cfg_degree=2)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    model = resolve_model("nano", Settings())
    plan = {"name": model.name, "path": model.path, "fingerprint": model.fingerprint, "dtype": "float32"}
    specs = [
        normalise(
            RowRequest(prompt=PROMPT, width=w, height=h, num_frames=f, num_inference_steps=given.steps),
            model, options=RenderOptions(), seed=1,
        )
        for w, h, f in SHAPES
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        gangs = {
            way: Gang(
                ModelPlan(**plan, device="cpu", threads=threads, parallel=parallel),
                backend=WAN_BACKEND,
                folder=Path(folder),
            )
            for way, (threads, parallel) in WAYS.items()
        }
        text = text_of(ModelPlan(**plan, device="cpu", threads=2), specs[0])
        for spec in specs:
            compare(gangs, spec, text, num_rounds=given.rounds)
        for gang in gangs.values():
            gang.close()


def text_of(plan: ModelPlan, spec: ClipSpec) -> ClipText:
    positive, negative = WanBackend().open_text(plan).encode([spec.prompt, spec.negative_prompt])
    return ClipText(positive=positive, negative=negative)


def compare(gangs: dict[str, Gang], spec: ClipSpec, text: ClipText, *, num_rounds: int) -> None:
    for gang in gangs.values():
        seconds_of(gang, spec, text)
    seconds: dict[str, list[float]] = {way: [] for way in gangs}
    for _ in range(num_rounds):
        for way, gang in gangs.items():
            seconds[way].append(seconds_of(gang, spec, text))
    first = statistics.median(seconds[next(iter(gangs))])
    print(f"{spec.width}x{spec.height}, {spec.num_frames} frames, {spec.num_inference_steps} steps")
    for way, times in seconds.items():
        median = statistics.median(times)
        print(f"  {way:26} {median:6.2f} s  {first / median:.2f}x")


def seconds_of(gang: Gang, spec: ClipSpec, text: ClipText) -> float:
    begun_s = time.monotonic()
    for _ in gang.render(Order(spec=spec, text=text), Unwatched()):
        pass
    return time.monotonic() - begun_s


if __name__ == "__main__":
    main()
