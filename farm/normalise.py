"""From a row's request to a ClipSpec: measured against the model's card; what does not fit is refused, not rounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

from farm.models import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, Card, ModelRef
from farm.request import MAX_ID_CHARS, RowRequest
from farm.spec import SOLVERS, AssetRef, ClipSpec, RenderOptions

T = TypeVar("T")

MAX_PROMPT_BYTES = 8192
MAX_FPS, MAX_STEPS, MAX_GUIDANCE, MAX_SHIFT = 120, 1000, 100.0, 100.0

# What a field asks of the model.
FIELD_NEEDS = {
    "image": IMAGE_TO_VIDEO,
    "last_image": "first-and-last-frame-to-video",
    "video": "video-to-video",
    "strength": "video-to-video",
    "control": "control",
    "control_kind": "control",
    "adapters": "adapters",
}


def faults_of(request: RowRequest, card: Card) -> list[str]:
    """Everything for which the model cannot make this row, each as "field: what is wrong (what would be right)"."""
    checks: tuple[Callable[[RowRequest, Card], Iterator[str]], ...] = (
        _texts, _unsupported, _size, _frames, _numbers, _guidance,
    )  # fmt: skip
    return [fault for check in checks for fault in check(request, card)]


def normalise(
    request: RowRequest, model: ModelRef, *, options: RenderOptions, seed: int, image: AssetRef | None = None
) -> ClipSpec:
    """The spec of a row without faults. `seed` stands in for a missing one; `image` is the row's, by content."""
    card, default = model.card, model.card.defaults
    width, height = _either(request.width, default.width), _either(request.height, default.height)
    render_width, render_height = card.render_size(width, height)
    high, low = _guidance_of(request, card)
    return ClipSpec(
        prompt=request.prompt,
        negative_prompt=_either(request.negative_prompt, default.negative_prompt),
        seed=_either(request.seed, seed),
        width=width,
        height=height,
        render_width=render_width,
        render_height=render_height,
        num_frames=_either(request.num_frames, default.num_frames),
        fps=_either(request.fps, default.fps),
        num_inference_steps=_either(request.num_inference_steps, default.num_inference_steps),
        guidance_high=high + 0.0,  # -0.0 is 0.0, here and in the name
        guidance_low=low + 0.0,
        shift=_either(request.shift, default.shift),
        solver=_either(request.solver, default.solver),  # type: ignore[arg-type] # checked by _numbers and by pydantic
        profile=options.profile,
        image=image,
        model=model.fingerprint,
        dtype=options.dtype or card.dtype,
        codec=options.codec,
    )


def warnings_of(spec: ClipSpec, card: Card) -> list[str]:
    """The card's advice that a clip goes against. Texts hold no values, so that a run's warnings can be counted."""
    advice, warnings = card.advice, []
    if min(spec.guidance_high, spec.guidance_low) < advice.min_guidance:
        warnings.append(f"guidance below {advice.min_guidance:g}: pictures tend to be blurry")
    if max(spec.guidance_high, spec.guidance_low) > advice.max_guidance:
        warnings.append(f"guidance above {advice.max_guidance:g}: colours tend to burn")
    if spec.num_inference_steps < advice.min_steps:
        warnings.append(f"fewer than {advice.min_steps} steps: details are missing")
    if (spec.num_frames - 1) / card.defaults.fps > advice.stable_seconds:
        warnings.append(f"longer than {advice.stable_seconds:g} s: motion gets unstable")
    return warnings


def _texts(request: RowRequest, _: Card) -> Iterator[str]:
    if not request.prompt.strip():
        yield "prompt: missing (it is empty)"
    for name in ("prompt", "negative_prompt"):
        size = len((getattr(request, name) or "").encode())
        if size > MAX_PROMPT_BYTES:
            yield f"{name}: {size} bytes, at most {MAX_PROMPT_BYTES}"
    if request.id is not None and not (0 < len(request.id) <= MAX_ID_CHARS and request.id.isprintable()):
        yield f"id: must be 1 to {MAX_ID_CHARS} printable characters"


def _unsupported(request: RowRequest, card: Card) -> Iterator[str]:
    for name, mode in FIELD_NEEDS.items():
        if getattr(request, name) is not None and mode not in card.modes:
            yield f"{name}: {card.name} has no {mode} (it has {', '.join(card.modes)})"
    if request.image is None and TEXT_TO_VIDEO not in card.modes:
        yield f"image: missing, and {card.name} makes videos from images only"


def _size(request: RowRequest, card: Card) -> Iterator[str]:
    width = _either(request.width, card.defaults.width)
    height = _either(request.height, card.defaults.height)
    wide, high = card.render_size(width, height)
    step, odd = card.size_multiple, False
    longest = max(card.limits.max_size) // step * step
    for name, side in (("width", wide), ("height", high)):
        if side <= 0 or side % step:
            odd = True
            yield f"{name}: {side} is not a positive multiple of {step} (nearest: {_nearest(side, step, most=longest)})"
    if not odd and not card.limits.holds_size(wide, high):
        most = "{}x{}".format(*card.limits.max_size)
        near = _fitted(wide, high, card)
        yield f"width, height: {wide}x{high} is more than {card.name} makes, {most} (nearest: {near})"


def _frames(request: RowRequest, card: Card) -> Iterator[str]:
    frames, step, most = _either(request.num_frames, card.defaults.num_frames), card.frame_step, card.max_frames
    if frames < 1 or (frames - 1) % step:
        yield f"num_frames: {frames} is not {step}n+1 (nearest: {_nearest(frames, step, offset=1, most=most)})"
    elif frames > most:
        seconds = f"{card.limits.max_seconds:g} s at {card.defaults.fps} fps"
        yield f"num_frames: {frames} is more than {card.name} makes, {most} ({seconds})"


def _numbers(request: RowRequest, _: Card) -> Iterator[str]:
    bounds: tuple[tuple[str, float, float], ...] = (
        ("seed", 0, 2**63 - 1),
        ("fps", 1, MAX_FPS),
        ("num_inference_steps", 1, MAX_STEPS),
    )
    for name, least, most in bounds:
        value = getattr(request, name)
        if value is not None and not least <= value <= most:
            yield f"{name}: {value} is not between {least} and {most}"
    if request.shift is not None and not 0 < request.shift <= MAX_SHIFT:
        yield f"shift: {request.shift:g} is not above 0 and at most {MAX_SHIFT:g}"
    if request.solver is not None and request.solver not in SOLVERS:
        yield f"solver: {request.solver[:40]!r} is none of {', '.join(SOLVERS)}"


def _guidance(request: RowRequest, card: Card) -> Iterator[str]:
    given = {
        name: value
        for name in ("guidance_scale", "guidance_high", "guidance_low")
        if (value := getattr(request, name)) is not None
    }
    for name, value in given.items():
        if not 0 <= value <= MAX_GUIDANCE:
            yield f"{name}: {value:g} is not between 0 and {MAX_GUIDANCE:g}"
    if "guidance_scale" in given and len(given) > 1:
        yield "guidance_scale: stands for guidance_high and guidance_low, so give it or them"
    elif card.dims.num_experts == 1 and len(set(given.values())) > 1:
        yield f"guidance_low: {card.name} has one expert, so it must equal guidance_high (or give guidance_scale)"


def _guidance_of(request: RowRequest, card: Card) -> tuple[float, float]:
    """(high, low). One expert has one guidance, whichever of its names it was given by."""
    if request.guidance_scale is not None:
        return request.guidance_scale, request.guidance_scale
    high, low = request.guidance_high, request.guidance_low
    if card.dims.num_experts == 1:
        one = _either(high, _either(low, card.defaults.guidance_high))
        return one, one
    return _either(high, card.defaults.guidance_high), _either(low, card.defaults.guidance_low)


def _nearest(value: int, step: int, *, offset: int = 0, most: int | None = None) -> str:
    """The one or two valid values around a wrong one: offset + n * step, above 0 and at most `most`."""
    below = (value - offset) // step * step + offset
    least = offset or step
    around = sorted({max(least, min(near, most or near)) for near in (below, below + step)})
    return " or ".join(str(near) for near in around)


def _fitted(width: int, height: int, card: Card) -> str:
    """The largest size of nearly this shape that the card allows."""
    longest, area = max(card.limits.max_size), math.prod(card.limits.max_size)
    scale = min(longest / max(width, height), math.sqrt(area / (width * height)))
    step = card.size_multiple
    return "x".join(str(max(step, int(side * scale + 1e-9) // step * step)) for side in (width, height))


def _either(value: T | None, default: T) -> T:
    return default if value is None else value
