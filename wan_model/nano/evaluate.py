"""How often a clip shows what its prompt says: the judge's readings over combinations seen and unseen in training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wan_model.nano.captions import caption
from wan_model.nano.judge import Reading, judge
from wan_model.nano.world import Attributes, held_out_combinations, render, sample_scene, seen_combinations
from wan_model.pipeline import WanPipeline

FIELDS = tuple(field.name for field in fields(Attributes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request, and what its clip must show. `image` (H, W, 3) is the first frame of an image-to-video request."""

    prompt: str
    attributes: Attributes
    is_held_out: bool
    seed: int
    image: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a case. `first_frame_psnr` (dB) compares the clip's first frame with the image."""

    case: Case
    reading: Reading
    frames: NDArray[np.uint8]
    first_frame_psnr: float | None = None


def make_cases(count: int, *, has_image: bool = False, seed: int = 0) -> list[Case]:
    """`count` requests, every second one of a combination that training never saw."""
    rng = np.random.default_rng((20, seed))
    pools = (seen_combinations(), held_out_combinations())
    orders = [rng.permutation(len(pool)) for pool in pools]
    cases = []
    for index in range(count):
        pool, order = pools[index % 2], orders[index % 2]
        attributes = pool[order[(index // 2) % len(order)]]
        image = render([sample_scene(rng, attributes)], num_frames=1)[0, 0] if has_image else None
        prompt = caption(rng, attributes)
        case = Case(prompt=prompt, attributes=attributes, is_held_out=bool(index % 2), seed=index, image=image)
        cases.append(case)
    return cases


def evaluate(pipeline: WanPipeline, cases: Iterable[Case], **overrides: Any) -> Iterator[Outcome]:
    """Renders and judges each case. `overrides` are sampling parameters."""
    for case in cases:
        image = None if case.image is None else Image.fromarray(case.image)
        frames = pipeline(case.prompt, image=image, seed=case.seed, **overrides).frames
        psnr = None if case.image is None else _psnr(frames[0], case.image)
        yield Outcome(case=case, reading=judge(frames), frames=frames, first_frame_psnr=psnr)


def accuracy(outcomes: Sequence[Outcome], field: str) -> float:
    """The share of clips that show what was asked for."""
    return sum(getattr(o.reading, field) == getattr(o.case.attributes, field) for o in outcomes) / len(outcomes)


def confusion(outcomes: Iterable[Outcome], field: str) -> Counter[tuple[str, str]]:
    """How often each asked value (first) was read as each other one (second); agreement is left out."""
    pairs = ((getattr(o.case.attributes, field), str(getattr(o.reading, field))) for o in outcomes)
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def report(outcomes: Sequence[Outcome]) -> str:
    """A table of accuracies, seen and held-out combinations apart, then what was taken for what."""
    groups = {
        "all": outcomes,
        "seen": [outcome for outcome in outcomes if not outcome.case.is_held_out],
        "held out": [outcome for outcome in outcomes if outcome.case.is_held_out],
    }
    lines = [f"{'':12}" + "".join(f"{f'{name} ({len(group)})':>16}" for name, group in groups.items())]
    for field in FIELDS:
        lines.append(f"{field:12}" + "".join(f"{accuracy(group, field):>16.1%}" for group in groups.values()))
    lines += [_confusion_line(outcomes, field) for field in FIELDS if confusion(outcomes, field)]
    outlines = [outcome.reading.outline for outcome in outcomes]
    lines.append(f"outline: median {np.median(outlines):.2f}, worst tenth below {np.quantile(outlines, 0.1):.2f}")
    psnrs = [outcome.first_frame_psnr for outcome in outcomes if outcome.first_frame_psnr is not None]
    if psnrs:
        lines.append(f"first frame: median {np.median(psnrs):.1f} dB from the image, worst {min(psnrs):.1f} dB")
    return "\n".join(lines)


def contact_sheet(clips: Sequence[NDArray[np.uint8]], *, num_columns: int = 7, scale: int = 2) -> Image.Image:
    """A row per clip of frames spread over its length."""
    rows = []
    for clip in clips:
        chosen = np.linspace(0, len(clip) - 1, num_columns).round().astype(int)
        rows.append(np.concatenate(list(clip[chosen]), axis=1))
    sheet = Image.fromarray(np.concatenate(rows))
    return sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)


def _confusion_line(outcomes: Sequence[Outcome], field: str) -> str:
    pairs = confusion(outcomes, field).most_common()
    return f"{field} mistaken: " + ", ".join(f"{asked} for {read} {count}" for (asked, read), count in pairs)


def _psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    error = float(np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2))
    return 10 * np.log10(255**2 / max(error, 1e-9))
