"""/v1/models: what can be asked for."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from deployments.api.access import Reader, Service
from deployments.api.answers import Model, ModelAdvice, ModelDefaults, ModelLimits, ModelList
from deployments.api.documenting import ok
from deployments.api.routes import examples
from deployments.errors import MissingError
from farm.models import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, Card
from farm.normalise import MAX_FPS, MAX_GUIDANCE, MAX_PROMPT_BYTES, MAX_STEPS
from farm.spec import SOLVERS

router = APIRouter(prefix="/v1/models", tags=["models"])

_MODES: dict[str, Literal["text", "image"]] = {TEXT_TO_VIDEO: "text", IMAGE_TO_VIDEO: "image"}


@router.get("", summary="List models", responses={200: ok("All on offer.", examples.MODEL_LIST)})
async def list_models(service: Service, _: Reader) -> ModelList:
    """The models on offer, the default first."""
    cards = [offer.card for offer in service.offers.values()]
    return ModelList(data=[_shown(card, is_default=card is cards[0]) for card in cards])


@router.get("/{model_id}", summary="One model", responses={200: ok("Its card.", examples.MODEL)})
async def retrieve_model(model_id: str, service: Service, _: Reader) -> Model:
    """What a model can do, up to where, and with which defaults."""
    if model_id not in service.offers:
        raise MissingError(f"there is no model {model_id[:60]!r}", code="model_not_found")
    return _shown(service.offers[model_id].card, is_default=model_id == next(iter(service.offers)))


def _shown(card: Card, *, is_default: bool) -> Model:
    defaults, limits, advice = card.defaults, card.limits, card.advice
    longest = max(limits.max_size)
    return Model(
        id=card.name,
        title=card.title,
        is_default=is_default,
        modes=[_MODES[mode] for mode in card.modes if mode in _MODES],
        unsupported=card.unsupported,
        size_multiple=card.size_multiple,
        frame_step=card.frame_step,
        sizes=_sizes(card),
        defaults=ModelDefaults(
            size=f"{defaults.width}x{defaults.height}",
            width=defaults.width,
            height=defaults.height,
            num_frames=defaults.num_frames,
            fps=defaults.fps,
            seconds=round(defaults.num_frames / defaults.fps, 4),
            num_inference_steps=defaults.num_inference_steps,
            guidance_scale=defaults.guidance_high,
            guidance_low=defaults.guidance_low,
            shift=defaults.shift,
            solver=defaults.solver,
            negative_prompt=defaults.negative_prompt,
        ),
        limits=ModelLimits(
            max_width=longest,
            max_height=longest,
            max_pixels=limits.max_size[0] * limits.max_size[1],
            max_frames=card.max_frames,
            max_seconds=limits.max_seconds,
            max_steps=MAX_STEPS,
            max_fps=MAX_FPS,
            min_guidance_scale=0.0,
            max_guidance_scale=MAX_GUIDANCE,
            max_prompt_bytes=MAX_PROMPT_BYTES,
        ),
        advice=ModelAdvice(
            min_guidance=advice.min_guidance,
            max_guidance=advice.max_guidance,
            min_steps=advice.min_steps,
            stable_seconds=advice.stable_seconds,
        ),
        solvers=list(SOLVERS),
    )


def _sizes(card: Card) -> list[str]:
    """Sizes worth suggesting, the default first: it, upright, the card's named ones and its largest."""
    width, height = card.defaults.width, card.defaults.height
    largest = card.limits.max_size
    named = [(size.width, size.height) for size in card.named_sizes]
    suggested = [(width, height), (height, width), *named, largest, largest[::-1]]
    valid = [size for size in suggested if _is_valid(card, size)]
    return list(dict.fromkeys(f"{wide}x{high}" for wide, high in valid))


def _is_valid(card: Card, size: tuple[int, int]) -> bool:
    wide, high = card.render_size(*size)
    return not (wide % card.size_multiple or high % card.size_multiple) and card.limits.holds_size(wide, high)
