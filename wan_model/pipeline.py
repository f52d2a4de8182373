"""A loaded model: prompts and images in, clips out.

Legend: B batch, C channels, F frames, H height, W width; latents are (1, C, F, H, W), frames (F, H, W, 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wan_model.conditioning import first_frame_from_image
from wan_model.config import ModelConfig
from wan_model.dit.model import WanDiT
from wan_model.errors import LayoutError, NonFiniteError, RequestError
from wan_model.parallel import SINGLE, SequenceParallel
from wan_model.params import SamplingParams, num_tokens, request_faults
from wan_model.sampling.denoise import Expert, Experts, denoise, initial_noise
from wan_model.sampling.solvers import SolverState
from wan_model.text.encoder import TextEncoder
from wan_model.text.states import TextStates
from wan_model.vae import WanVAE
from wan_model.weights.checkpoint import Checkpoint, RepositorySampling, open_checkpoint
from wan_model.weights.load import Dtype, load_dit, load_text, load_vae

if TYPE_CHECKING:
    from PIL import Image

Component = Literal["text", "dit", "vae"]
Frames = npt.NDArray[np.uint8]

EMBEDDED = {"nano": Path(__file__).parent / "nano" / "weights"}
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
        parallel: SequenceParallel = SINGLE,
    ) -> Tensor:
        """Latents of a clip, normalised, in float32.

        Args:
            prompt, negative: text states; without a negative, guidance must be 1.
            first_frame: (3, H, W) in [-1, 1]; TI2V models only.
            on_step: called after each step with the steps done and their total.

        Raises:
            RequestError: this model cannot make that clip; names every fault.
            NonFiniteError: NaN or infinity in the latents.
        """
        self._refuse(params, has_first_frame=first_frame is not None, has_negative=negative is not None)
        grid = params.schedule()
        device = _device(_loaded(self.dit, "dit"))
        shape = self.config.vae.latent_shape(params.num_frames, params.height, params.width)
        state = SolverState(latents=initial_noise((1, *shape), seed=params.seed).to(device))
        steps = denoise(
            grid,
            state,
            experts=self._experts(prompt, negative, params),
            solver=params.solver,
            first_frame=None if first_frame is None else self.encode_image(first_frame).to(device),
            parallel=parallel,
        )
        for state in steps:
            if on_step is not None:
                on_step(state.step, grid.num_steps)
        if not torch.isfinite(state.latents).all():
            raise NonFiniteError(f"NaN or infinity in the latents after {grid.num_steps} steps")
        return state.latents

    def encode_image(self, first_frame: Tensor) -> Tensor:
        """(3, H, W) in [-1, 1] to normalised latents (1, C, 1, h, w)."""
        vae = _loaded(self.vae, "vae")
        return vae.encode(first_frame[None, :, None].to(_device(vae)))

    def decode(self, latents: Tensor) -> Iterator[Frames]:
        """Frames of normalised latents, chunk by chunk as the VAE makes them: (f, H, W, 3) in 0 to 255.

        Raises `NonFiniteError`: a VAE in half precision can overflow on finite latents, and NaN would become pixels.
        """
        vae = _loaded(self.vae, "vae")
        for chunk in vae.decode(latents.to(_device(vae))):
            if not torch.isfinite(chunk).all():
                raise NonFiniteError("NaN or infinity in the decoded frames")
            levels = (chunk[0].float() * 0.5 + 0.5).clamp(0, 1) * 255
            yield levels.round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()

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

    def _experts(self, prompt: TextStates, negative: TextStates | None, params: SamplingParams) -> Experts:
        tokens = num_tokens(self.config, params)

        def expert(dit: WanDiT | None, guidance: float) -> Expert:
            return Expert.prepare(_loaded(dit, "dit"), prompt, negative, guidance=guidance, num_tokens=tokens)

        high = expert(self.dit, params.guidance_high)
        if not self.config.has_low_noise_expert:
            return Experts(high=high)
        low = expert(self.low_dit, params.guidance_low)
        return Experts(high=high, low=low, boundary=self.config.defaults.boundary)


def load_pipeline(
    path: str | Path,
    *,
    dtype: Dtype = "auto",
    device: str = "cpu",
    components: Sequence[Component] = ("text", "dit", "vae"),
    vae_dtype: Dtype = "float32",
    threads: int | None = None,
) -> WanPipeline:
    """See `wan_model.load`."""
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint = open_checkpoint(EMBEDDED.get(str(path), Path(path)))
    config, parts = checkpoint.config, checkpoint.components
    absent = [name for name in components if name not in parts]
    if absent:
        raise LayoutError(f"{path} has no {', '.join(absent)}: load it with components={tuple(parts)}")
    has_low = "dit" in components and "low_dit" in parts
    return WanPipeline(
        config=config,
        text=_load_text_encoder(checkpoint, dtype, device) if "text" in components else None,
        dit=load_dit(config.dit, parts["dit"], dtype=dtype, device=device) if "dit" in components else None,
        low_dit=load_dit(config.dit, parts["low_dit"], dtype=dtype, device=device) if has_low else None,
        vae=load_vae(config.vae, parts["vae"], dtype=vae_dtype, device=device) if "vae" in components else None,
        repository=checkpoint.repository,
    )


def _load_text_encoder(checkpoint: Checkpoint, dtype: Dtype, device: str) -> TextEncoder:
    from transformers import AutoTokenizer

    if checkpoint.tokenizer is None:
        raise LayoutError(f"{checkpoint.path} has no tokenizer: expected tokenizer/ or google/umt5-xxl/")
    config = checkpoint.config.text
    model = load_text(config, checkpoint.components["text"], dtype=dtype, device=device)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.tokenizer, local_files_only=True)
    return TextEncoder(model, tokenizer, text_len=config.text_len)


def _device(module: torch.nn.Module) -> torch.device:
    return next(module.parameters()).device


def _loaded(component: _T | None, name: str) -> _T:
    if component is None:
        raise RequestError([f"this pipeline was loaded without its {name}: components=(..., {name!r})"])
    return component
