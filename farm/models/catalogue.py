"""The catalogue: a card for each model that is known by name.

Three sources: the official configurations, the FAQ's tables of Wan 2.6 and 3.0, and (nano) this project's own training.
A model's folder decides its dimensions; a card only says which model that is.
"""

from __future__ import annotations

from dataclasses import replace

from farm.models.cards import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, Advice, Card, Defaults, Limits, NamedSize
from farm.models.dims import NANO, UMT5_XXL, VAE_2_1, VAE_2_2, DiTDims, ModelDims

OFFICIAL_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)


def _dit(dim: int, ffn_dim: int, num_heads: int, num_layers: int, *, channels: int = 16) -> DiTDims:
    return DiTDims(
        dim=dim,
        ffn_dim=ffn_dim,
        num_heads=num_heads,
        num_layers=num_layers,
        in_channels=channels,
        out_channels=channels,
    )


_DIT_1_3B = _dit(1536, 8960, 12, 30)
_DIT_14B = _dit(5120, 13824, 40, 40)
_DIT_5B = _dit(3072, 14336, 24, 30, channels=48)
_1_3B = ModelDims(dit=_DIT_1_3B, vae=VAE_2_1, text=UMT5_XXL)
_14B = ModelDims(dit=_DIT_14B, vae=VAE_2_1, text=UMT5_XXL)
_I2V_2_1 = replace(_14B, dit=replace(_DIT_14B, in_channels=36, image_dim=1280))

_480P = Defaults(
    width=832,
    height=480,
    num_frames=81,
    fps=16,
    num_inference_steps=50,
    guidance_high=5.0,
    guidance_low=5.0,
    shift=5.0,
    negative_prompt=OFFICIAL_NEGATIVE_PROMPT,
)
_720P = replace(_480P, width=1280, height=720)
_FAQ = replace(_720P, num_inference_steps=20, guidance_high=7.0, guidance_low=7.0)
_FAQ_SMALL = replace(_FAQ, width=512, height=288)

_NO_CHANNELS = "it takes its first frame as extra channels, which this version does not render"
_NO_CONTROL = "it is steered by control videos (VACE), which this version does not render"
_UP_TO_480P = Limits(max_size=(832, 480), max_seconds=8.0)
_UP_TO_720P = Limits(max_size=(1280, 720), max_seconds=8.0)


def _both_ways(width: int, height: int, *, padded_height: int) -> tuple[NamedSize, NamedSize]:
    """A named size that needs more rows, lying and standing."""
    return (
        NamedSize(width=width, height=height, render_width=width, render_height=padded_height),
        NamedSize(width=height, height=width, render_width=padded_height, render_height=width),
    )


NANO_CARD = Card(
    name="nano",
    title="nano, the embedded model of moving shapes",
    dims=NANO,
    modes=(TEXT_TO_VIDEO, IMAGE_TO_VIDEO),
    defaults=Defaults(
        width=64,
        height=64,
        num_frames=17,
        fps=8,
        num_inference_steps=20,
        guidance_high=3.0,
        guidance_low=3.0,
        shift=3.0,
        negative_prompt="",
    ),
    limits=Limits(max_size=(96, 64), max_seconds=3.0),  # beyond, clips no longer show what was asked: docs/nano.md
    advice=Advice(min_guidance=1.5, max_guidance=8.0, min_steps=8, stable_seconds=3.0),
    dtype="float32",
)

CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        NANO_CARD,
        Card(
            name="wan2.1-t2v-1.3b",
            title="Wan 2.1 T2V 1.3B",
            dims=_1_3B,
            limits=_UP_TO_720P,
            defaults=replace(_480P, shift=8.0, guidance_high=6.0, guidance_low=6.0),
        ),
        Card(name="wan2.1-t2v-14b", title="Wan 2.1 T2V 14B", dims=_14B, defaults=_720P, limits=_UP_TO_720P),
        Card(
            name="wan2.1-i2v-14b-480p",
            title="Wan 2.1 I2V 14B 480P",
            dims=_I2V_2_1,
            defaults=replace(_480P, num_inference_steps=40, shift=3.0),
            modes=(IMAGE_TO_VIDEO,),
            limits=_UP_TO_480P,
            unsupported=_NO_CHANNELS,
        ),
        Card(
            name="wan2.1-i2v-14b-720p",
            title="Wan 2.1 I2V 14B 720P",
            dims=_I2V_2_1,
            defaults=replace(_720P, num_inference_steps=40),
            modes=(IMAGE_TO_VIDEO,),
            limits=_UP_TO_720P,
            unsupported=_NO_CHANNELS,
        ),
        Card(
            name="wan2.1-flf2v-14b",
            title="Wan 2.1 FLF2V 14B",
            dims=replace(_I2V_2_1, dit=replace(_I2V_2_1.dit, image_tokens=514)),
            defaults=replace(_720P, shift=16.0, guidance_high=5.5, guidance_low=5.5),
            modes=(IMAGE_TO_VIDEO,),
            limits=_UP_TO_720P,
            unsupported=_NO_CHANNELS,
        ),
        Card(
            name="wan2.1-vace-1.3b",
            title="Wan 2.1 VACE 1.3B",
            dims=replace(_1_3B, dit=replace(_DIT_1_3B, num_vace_layers=15)),
            defaults=replace(_480P, shift=16.0),
            limits=_UP_TO_480P,
            unsupported=_NO_CONTROL,
        ),
        Card(
            name="wan2.1-vace-14b",
            title="Wan 2.1 VACE 14B",
            dims=replace(_14B, dit=replace(_DIT_14B, num_vace_layers=8)),
            defaults=replace(_720P, shift=16.0),
            limits=_UP_TO_720P,
            unsupported=_NO_CONTROL,
        ),
        Card(
            name="wan2.2-t2v-a14b",
            title="Wan 2.2 T2V A14B",
            dims=replace(_14B, num_experts=2, boundary=0.875),
            defaults=replace(_720P, num_inference_steps=40, shift=12.0, guidance_high=4.0, guidance_low=3.0),
            limits=_UP_TO_720P,
            advice=Advice(min_guidance=2.5, max_guidance=8.0),
        ),
        Card(
            name="wan2.2-i2v-a14b",
            title="Wan 2.2 I2V A14B",
            dims=replace(_14B, num_experts=2, boundary=0.9, dit=replace(_DIT_14B, in_channels=36)),
            defaults=replace(_720P, num_inference_steps=40, guidance_high=3.5, guidance_low=3.5),
            modes=(IMAGE_TO_VIDEO,),
            limits=_UP_TO_720P,
            advice=Advice(min_guidance=2.5, max_guidance=8.0),
            unsupported=_NO_CHANNELS,
        ),
        Card(
            name="wan2.2-ti2v-5b",
            title="Wan 2.2 TI2V 5B",
            dims=ModelDims(dit=_DIT_5B, vae=VAE_2_2, text=UMT5_XXL, expand_timesteps=True),
            defaults=replace(_720P, height=704, num_frames=121, fps=24),
            modes=(TEXT_TO_VIDEO, IMAGE_TO_VIDEO),
            limits=Limits(max_size=(1280, 736), max_seconds=8.0),
            named_sizes=_both_ways(1280, 720, padded_height=736),
        ),
        Card(name="wan2.6-14b", title="Wan 2.6 14B", dims=_14B, defaults=_FAQ, limits=_UP_TO_720P),
        Card(name="wan2.6-1.3b", title="Wan 2.6 1.3B", dims=_1_3B, defaults=_FAQ_SMALL, limits=_UP_TO_720P),
        Card(
            name="wan3.0-14b",
            title="Wan 3.0 14B",
            dims=_14B,
            defaults=_FAQ,
            limits=Limits(max_size=(1920, 1088), max_seconds=10.0),
            named_sizes=_both_ways(1920, 1080, padded_height=1088),
        ),
        Card(
            name="wan3.0-1.3b",
            title="Wan 3.0 1.3B",
            dims=_1_3B,
            defaults=_FAQ_SMALL,
            limits=Limits(max_size=(1280, 720), max_seconds=10.0),
        ),
    )
}


def generic_card(name: str, dims: ModelDims) -> Card:
    """The card of a model nobody described: its own dimensions, Wan 2.1's defaults, wide limits."""
    step = dims.size_multiple
    size = (_480P.width // step * step or step, _480P.height // step * step or step)
    return Card(
        name=name,
        title=f"{name} (no card of its own)",
        dims=dims,
        defaults=replace(_480P, width=size[0], height=size[1]),
        limits=Limits(max_size=(4096, 4096), max_seconds=60.0),
        modes=(TEXT_TO_VIDEO, IMAGE_TO_VIDEO) if dims.expand_timesteps else (TEXT_TO_VIDEO,),
        unsupported=_why_not(dims),
    )


def _why_not(dims: ModelDims) -> str | None:
    if dims.dit.num_vace_layers:
        return _NO_CONTROL
    return _NO_CHANNELS if dims.dit.in_channels != dims.dit.out_channels else None
