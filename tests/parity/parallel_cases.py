"""What the tests of parallelism compute: on one rank in the test itself, and on each rank of every world.

A case is a function of a `Parallel` that answers with tensors; the answer must not depend on how it is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import wan_model
from wan_model.config import DiTConfig, ModelConfig, VAEConfig
from wan_model.dit.model import WanDiT
from wan_model.errors import NonFiniteError
from wan_model.parallel import Parallel
from wan_model.pipeline import WanPipeline
from wan_model.sampling.solvers import SolverState
from wan_model.text.states import TextStates
from wan_model.vae import WanVAE
from wan_model.variants import VAE_2_1, VAE_2_2, VARIANTS

Answer = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)

DIT = DiTConfig(
    dim=48, ffn_dim=64, num_heads=4, num_layers=3, in_channels=16, out_channels=16, text_dim=24, freq_dim=32
)
TINY_VAES = {
    "2.1": replace(VAE_2_1, encoder_dim=8, decoder_dim=8, num_res_blocks=1),
    "2.2": replace(VAE_2_2, encoder_dim=8, decoder_dim=16, num_res_blocks=1),
    "nano": replace(VAE_2_2, encoder_dim=16, decoder_dim=16, dim_mult=(1, 2, 2), num_res_blocks=1,
                    temporal_downsample=(True, True)),
}  # fmt: skip
ODD = {"width": 112, "height": 48, "num_frames": 17}  # 5 x 3 x 7 tokens: both texts in one pass
LARGER = {"width": 144, "height": 64, "num_frames": 25}  # 7 x 4 x 9 tokens: a pass for each text
FEW = {"width": 48, "height": 16, "num_frames": 1}  # 3 tokens
GUIDED = {"guidance_high": 4.0, "guidance_low": 3.0, "shift": 3.0, "num_inference_steps": 4}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(num_tokens: int, *, seed: int, dim: int = DIT.text_dim) -> TextStates:
    return TextStates(states_TD=draw(num_tokens, dim, seed=seed))


def redrawn(module: M, *, seed: int) -> M:
    """Draws every parameter: matrices at unit gain, norms' scales around 1, biases small. Without gradients."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_scale = "gamma" in name or (parameter.ndim == 1 and "bias" not in name)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data = 1 + 0.2 * noise if is_scale else noise * fan_in**-0.5
    return module.requires_grad_(False).eval()


@cache
def dit(config: DiTConfig = DIT, seed: int = 1) -> WanDiT:
    return redrawn(WanDiT(config), seed=seed)


@cache
def vae(config: VAEConfig) -> WanVAE:
    return redrawn(WanVAE(config), seed=3)


@cache
def text_to_video() -> WanPipeline:
    return WanPipeline(config=_model("t2v", DIT, TINY_VAES["2.1"]), dit=dit(), vae=vae(TINY_VAES["2.1"]))


@cache
def image_to_video() -> WanPipeline:
    """Sizes are multiples of 16, as those of `text_to_video`."""
    config = replace(_model("ti2v", replace(DIT, in_channels=48, out_channels=48), TINY_VAES["nano"]))
    return WanPipeline(
        config=replace(config, expand_timesteps=True), dit=dit(config.dit, 2), vae=vae(TINY_VAES["nano"])
    )


@cache
def two_experts() -> WanPipeline:
    config = _model("two", DIT, TINY_VAES["2.1"])
    config = replace(config, has_low_noise_expert=True, defaults=replace(config.defaults, boundary=0.875))
    return WanPipeline(config=config, dit=dit(), low_dit=dit(seed=5), vae=vae(TINY_VAES["2.1"]))


@cache
def nano() -> WanPipeline:
    return wan_model.load("nano", threads=1)


def _model(name: str, dit_config: DiTConfig, vae_config: VAEConfig) -> ModelConfig:
    return replace(VARIANTS["wan2.1-t2v-1.3b"], name=name, dit=dit_config, vae=vae_config)


def clip(pipeline: WanPipeline, parallel: Parallel, *, first_frame: Tensor | None = None, **overrides: Any) -> Answer:
    params = pipeline.params(**(GUIDED | overrides))
    states = pipeline.steps(
        text(7, seed=1), text(3, seed=2), params, first_frame=first_frame, parallel=parallel, experts="all"
    )
    *_, last = states
    return {"latents": last.latents}


def from_image(parallel: Parallel, **overrides: Any) -> Answer:
    frame = draw(3, overrides["height"], overrides["width"], seed=4).clamp(-1, 1)
    return clip(image_to_video(), parallel, first_frame=frame, **overrides)


def experts_in_turn(parallel: Parallel) -> Answer:
    """The state goes from one pool's rank to the other's as a file of tensors."""
    pipeline = two_experts()
    params, texts = pipeline.params(**(GUIDED | ODD)), (text(7, seed=1), text(3, seed=2))
    high = replace(pipeline, low_dit=None).steps(*texts, params, parallel=parallel, experts="high")
    *_, boundary = high
    handed_over = SolverState.from_tensors(boundary.to_tensors())
    low = replace(pipeline, dit=None).steps(*texts, params, state=handed_over, parallel=parallel, experts="low")
    *_, last = low
    return {"latents": last.latents, "boundary": boundary.latents}


def resumed(parallel: Parallel) -> Answer:
    """1 for each step from whose state a run ends in the same bits."""
    pipeline = image_to_video()
    params, texts = pipeline.params(**(GUIDED | ODD)), (text(7, seed=1), text(3, seed=2))
    more = {"first_frame": draw(3, ODD["height"], ODD["width"], seed=4).clamp(-1, 1), "parallel": parallel}
    states = list(pipeline.steps(*texts, params, **more))
    same = []
    for state in states[:-1]:
        kept = SolverState.from_tensors({name: value.clone() for name, value in state.to_tensors().items()})
        *_, last = pipeline.steps(*texts, params, state=kept, **more)
        same.append(torch.equal(last.latents, states[-1].latents))
    return {"is_same": torch.tensor(same)}


def vace_pass(parallel: Parallel) -> Answer:
    config = replace(DIT, vace_layers=(0, 2), vace_in_channels=8)
    model, latents, control = dit(config), draw(2, 16, 5, 6, 14), draw(2, 8, 5, 6, 14, seed=1)
    condition = model.condition([text(7, seed=1), text(3, seed=2)])
    times = torch.tensor([700.0, 300.0])
    return {"out": model(latents, times, condition, vace_context=control, vace_scale=0.7, parallel=parallel.sequence)}


def image_pass(parallel: Parallel) -> Answer:
    """Condition channels beside the latents, CLIP states, and a timestep for each latent frame."""
    model = dit(replace(DIT, in_channels=36, image_dim=20))
    condition = model.condition([text(7, seed=1)], image_BTD=draw(1, 9, 20, seed=3))
    times = torch.tensor([[0.0, 500.0, 500.0, 600.0, 700.0]])
    return {"out": model(draw(1, 36, 5, 6, 14), times, condition, parallel=parallel.sequence)}


def nano_clip(parallel: Parallel) -> Answer:
    pipeline = nano()
    positive, negative = (pipeline.text.encode([prompt])[0] for prompt in ("a red circle moves to the right", ""))
    params = pipeline.params(seed=7, num_frames=25)  # as many as nano takes
    latents = pipeline.denoise(positive, negative, params, parallel=parallel)
    frames = [torch.from_numpy(chunk) for chunk in pipeline.decode(latents, parallel=parallel)]
    return {"latents": latents} | ({"pixels": torch.cat(frames)} if parallel.is_first else {})


def rows(parallel: Parallel, *, generation: str, num_rows: int) -> Answer:
    """This rank's rows of the frames before they are rounded, and its pixels gathered."""
    model = vae(TINY_VAES[generation])
    latents = draw(1, model.config.z_dim, 3, num_rows, 3)
    share = parallel.rows.share(num_rows)
    chunks = list(model.decode(latents, rows=share))
    pipeline = replace(text_to_video(), vae=model)
    pixels = [torch.from_numpy(chunk) for chunk in pipeline.decode(latents, parallel=parallel)]
    has_rows = share.start < share.stop
    return ({"rows": torch.cat(chunks, dim=2)} if has_rows else {}) | ({"pixels": torch.cat(pixels)} if pixels else {})


def nan_on_the_last_rank(parallel: Parallel) -> Answer:
    """1 where this rank raises, though only the last rank's rows are broken; and the ranks go on together."""
    config = TINY_VAES["2.1"]
    model, latents = vae(config), draw(1, config.z_dim, 2, 4, 3)
    broken = redrawn(WanVAE(config), seed=3)
    broken.decoder.head[2].bias.data.fill_(float("nan"))
    is_last = parallel.rows.share(4).stop == 4
    try:
        list(replace(text_to_video(), vae=broken if is_last else model).decode(latents, parallel=parallel))
    except NonFiniteError:
        list(replace(text_to_video(), vae=model).decode(latents, parallel=parallel))
        return {"raised": torch.tensor(1)}
    return {"raised": torch.tensor(0)}


Case = Callable[[Parallel], Answer]

CLIPS: dict[str, Case] = {
    "odd tokens, unipc": lambda parallel: clip(text_to_video(), parallel, **ODD),
    "odd tokens, euler": lambda parallel: clip(text_to_video(), parallel, solver="euler", **ODD),
    "larger": lambda parallel: clip(text_to_video(), parallel, **LARGER),
    "fewer tokens than ranks": lambda parallel: clip(text_to_video(), parallel, **FEW),
    "unguided": lambda parallel: clip(text_to_video(), parallel, **(ODD | {"guidance_high": 1.0, "guidance_low": 1.0})),
    "clean first frame": lambda parallel: from_image(parallel, **ODD),
    "clean first frame, larger, euler": lambda parallel: from_image(parallel, solver="euler", **LARGER),
    "two experts": lambda parallel: clip(two_experts(), parallel, **ODD),
    "one guided expert of two": lambda parallel: clip(two_experts(), parallel, **(ODD | {"guidance_low": 1.0})),
    "experts in turn": experts_in_turn,
    "vace": vace_pass,
    "image channels": image_pass,
}
ROWS: dict[str, Case] = {
    f"{generation}, {num_rows} rows": lambda parallel, generation=generation, num_rows=num_rows: rows(
        parallel, generation=generation, num_rows=num_rows
    )
    for generation, num_rows in (("2.1", 7), ("2.1", 3), ("2.2", 5), ("nano", 6), ("nano", 1))
}
CASES: dict[str, Case] = CLIPS | ROWS | {
    "nano": nano_clip,
    "resumed": resumed,
    "nan on the last rank": nan_on_the_last_rank,
}  # fmt: skip
