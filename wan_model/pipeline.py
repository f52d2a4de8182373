"""A loaded model: prompts and images in, clips out.

Legend: B batch, C channels, F frames, H height, W width; latents are (1, C, F, H, W), frames (F, H, W, 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from wan_model.conditioning import first_frame_from_image
from wan_model.config import ModelConfig
from wan_model.dit.model import WanDiT
from wan_model.errors import NonFiniteError, RequestError
from wan_model.parallel import SINGLE, Parallel, parallel_faults
from wan_model.params import ExpertChoice, SamplingParams, handover_faults, high_steps, num_tokens, request_faults
from wan_model.sampling.denoise import Expert, Experts, denoise, initial_noise
from wan_model.sampling.solvers import SolverState
from wan_model.text.encoder import TextEncoder
from wan_model.text.states import TextStates
from wan_model.vae import WanVAE
from wan_model.vae.pixels import Frames, decoded_in_tiles, decoded_pixels, num_pieces
from wan_model.weights.checkpoint import RepositorySampling

if TYPE_CHECKING:
    from PIL import Image

Component = Literal["text", "dit", "vae"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A finished clip."""

    frames: Frames
    fps: int
    params: SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class WanPipeline:
    """A model in memory. A component that was not loaded is None, and the calls that need it refuse.

    `repository` is what the profile `diffusers` takes shift and solver from, where the checkpoint has it.
    """

    config: ModelConfig
    text: TextEncoder | None = None
    dit: WanDiT | None = None
    low_dit: WanDiT | None = None
    vae: WanVAE | None = None
    repository: RepositorySampling | None = None

    def __call__(
        self, prompt: str, *, negative_prompt: str | None = None, image: Image.Image | None = None, **overrides: Any
    ) -> Clip:
        """One clip. `overrides` are fields of `SamplingParams`; the rest are the model's defaults.

        Raises `RequestError` for what this model cannot make, and `NonFiniteError`.
        """
        params = self.params(**overrides)
        self._refuse(params, has_first_frame=image is not None)
        text = _loaded(self.text, "text")
        negative_prompt = self.config.defaults.negative_prompt if negative_prompt is None else negative_prompt
        positive = text.encode([prompt])[0]
        negative = text.encode([negative_prompt])[0] if self._is_guided(params) else None
        size = {"width": params.width, "height": params.height}
        first_frame = None if image is None else first_frame_from_image(image, **size)
        latents = self.denoise(positive, negative, params, first_frame=first_frame)
        frames = np.concatenate(list(self.decode(latents)))
        return Clip(frames=frames, fps=self.config.defaults.fps, params=params)

    def params(self, **overrides: Any) -> SamplingParams:
        """The model's defaults with `overrides` in place. Raises `RequestError` for a name that is no parameter."""
        names = {field.name for field in fields(SamplingParams)}
        unknown = sorted(overrides.keys() - names)
        if unknown:
            raise RequestError([f"{name!r} is no sampling parameter: {', '.join(sorted(names))}" for name in unknown])
        defaults = self.config.defaults
        values: dict[str, Any] = {"profile": "official", "seed": 0}
        values |= {name: getattr(defaults, name) for name in names if name not in values}
        if overrides.get("profile") == "diffusers" and self.repository is not None:
            values |= {"shift": self.repository.shift, "solver": self.repository.solver}
        return SamplingParams(**(values | overrides))

    def denoise(
        self,
        prompt: TextStates,
        negative: TextStates | None,
        params: SamplingParams,
        *,
        first_frame: Tensor | None = None,
        on_step: Callable[[int, int], None] | None = None,
        parallel: Parallel = SINGLE,
    ) -> Tensor:
        """Latents of a clip, normalised, in float32: those of the last of `steps`, which see.

        `on_step` is called after each step with the steps done and their total.
        """
        states = self.steps(prompt, negative, params, first_frame=first_frame, parallel=parallel)
        for state in states:
            if on_step is not None:
                on_step(state.step, params.num_inference_steps)
        return state.latents

    def steps(
        self,
        prompt: TextStates,
        negative: TextStates | None,
        params: SamplingParams,
        *,
        first_frame: Tensor | None = None,
        state: SolverState | None = None,
        parallel: Parallel = SINGLE,
        experts: ExpertChoice = "all",
    ) -> Iterator[SolverState]:
        """The state after each step that is left; the last one's latents are the clip, normalised, in float32.

        With several ranks each of them walks the same steps to the same states.

        Args:
            prompt, negative: text states; without a negative, guidance must be 1.
            first_frame: (3, H, W) in [-1, 1]; TI2V models only.
            state: where to go on, bit for bit; None begins with the seed's noise. With no step left, none is yielded.
            experts: "high" ends where the low-noise expert takes over, "low" goes on from there.

        Raises:
            RequestError: this model cannot make that clip, or not from that state; names every fault. At once.
            NonFiniteError: NaN or infinity in the last step's latents; that state is not yielded.
        """
        self._refuse(params, has_first_frame=first_frame is not None, has_negative=negative is not None)
        shape = (1, *self.config.vae.latent_shape(params.num_frames, params.height, params.width))
        faults = parallel_faults(self.config.dit, ulysses_degree=parallel.sequence.degree)
        faults += handover_faults(self.config, params, experts=experts, state=state, shape=shape)
        if faults:
            raise RequestError(faults)
        prepared = self._experts(prompt, negative, params, parallel=parallel, experts=experts)
        device = _device(prepared.high.dit)
        num_steps = high_steps(self.config, params) if experts == "high" else params.num_inference_steps
        states = denoise(
            params.schedule(),
            (state or SolverState(latents=initial_noise(shape, seed=params.seed))).to(device),
            experts=prepared,
            solver=params.solver,
            num_steps=num_steps,
            first_frame=None if first_frame is None else self.encode_image(first_frame).to(device),
            parallel=parallel,
        )
        return _finite_at_end(states, num_steps)

    def encode_image(self, first_frame: Tensor) -> Tensor:
        """(3, H, W) in [-1, 1] to normalised latents (1, C, 1, h, w)."""
        vae = _loaded(self.vae, "vae")
        return vae.encode(first_frame[None, :, None].to(_device(vae)))

    def decode(
        self,
        latents: Tensor,
        *,
        parallel: Parallel = SINGLE,
        tiles: int | None = None,
        on_chunk: Callable[[int, int], None] | None = None,
    ) -> Iterator[Frames]:
        """Frames of normalised latents, chunk by chunk as the VAE makes them: (f, H, W, 3) in 0 to 255.

        Args:
            parallel: shares the rows of each frame; the first rank yields whole frames, the others take part and yield
                nothing. An exchange waits for a first rank whose caller is slow to ask for more, up to its time limit.
            tiles: decodes in so many tiles of rows (at most one a row of latents), one after the other, for little
                memory: the first frames come with the last tile. For one rank only.
            on_chunk: called on each rank after each piece of the work, frames or not, with the pieces done and their
                total. Where it raises on all ranks after the same piece, they are in step again.

        Raises:
            RequestError: tiles on several ranks, or none.
            NonFiniteError: a VAE in half precision can overflow on finite latents, and NaN would become pixels. On all
                ranks.
        """
        vae = _loaded(self.vae, "vae")
        if tiles is not None and (tiles < 1 or parallel.rows.degree > 1):
            raise RequestError([f"tiles is {tiles} on {parallel.rows.degree} ranks: at least 1, on one rank"])
        latents = latents.to(_device(vae))
        rows = parallel.rows.share(latents.shape[3])
        decoded = decoded_pixels(vae, latents, rows) if tiles is None else decoded_in_tiles(vae, latents, tiles)
        total = num_pieces(latents, tiles)
        for done, frames in enumerate(decoded, start=1):
            if on_chunk is not None:
                on_chunk(done, total)
            if frames is not None:
                yield frames

    def faults(self, params: SamplingParams, *, has_first_frame: bool = False) -> list[str]:
        """Why this model cannot make such a clip, one sentence each; empty if it can."""
        return request_faults(self.config, params, has_first_frame=has_first_frame)

    def _is_guided(self, params: SamplingParams) -> bool:
        guidances = (params.guidance_high, params.guidance_low)[: 1 + self.config.has_low_noise_expert]
        return any(guidance != 1 for guidance in guidances)

    def _refuse(self, params: SamplingParams, *, has_first_frame: bool, has_negative: bool = True) -> None:
        faults = self.faults(params, has_first_frame=has_first_frame)
        if not has_negative and self._is_guided(params):
            faults.append("guidance other than 1 needs the states of a negative prompt")
        if faults:
            raise RequestError(faults)

    def _experts(
        self,
        prompt: TextStates,
        negative: TextStates | None,
        params: SamplingParams,
        *,
        parallel: Parallel,
        experts: ExpertChoice,
    ) -> Experts:
        tokens = num_tokens(self.config, params)

        def expert(dit: WanDiT | None, guidance: float) -> Expert:
            loaded, ranks = _loaded(dit, "dit"), parallel.guidance
            return Expert.prepare(loaded, prompt, negative, guidance=guidance, num_tokens=tokens, ranks=ranks)

        if experts == "low":
            return Experts(high=expert(self.low_dit, params.guidance_low))
        high = expert(self.dit, params.guidance_high)
        if experts == "high" or not self.config.has_low_noise_expert:
            return Experts(high=high)
        low = expert(self.low_dit, params.guidance_low)
        return Experts(high=high, low=low, boundary=self.config.defaults.boundary)


def _device(module: torch.nn.Module) -> torch.device:
    return next(module.parameters()).device


def _finite_at_end(states: Iterator[SolverState], num_steps: int) -> Iterator[SolverState]:
    for state in states:
        if state.step == num_steps and not torch.isfinite(state.latents).all():
            raise NonFiniteError(f"NaN or infinity in the latents after {num_steps} steps")
        yield state


def _loaded(component: _T | None, name: str) -> _T:
    if component is None:
        raise RequestError([f"this pipeline was loaded without its {name}: components=(..., {name!r})"])
    return component
