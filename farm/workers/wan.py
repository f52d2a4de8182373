"""The real backend: `wan_model` in this process."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import safetensors.torch
import torch
from PIL import Image

import wan_model
from farm.errors import InputError, MemoryExhaustedError, ModelError, NotFiniteError
from farm.media import encoder_settings, read_image
from farm.provenance import Execution
from farm.spec import ClipSpec
from farm.workers.engine import Frames, ModelPlan, Order, Watch
from wan_model.conditioning import first_frame_from_image
from wan_model.errors import CheckpointError, NonFiniteError, RequestError
from wan_model.params import SamplingParams
from wan_model.pipeline import Component, WanPipeline
from wan_model.text.encoder import TextEncoder, clean_prompt
from wan_model.text.states import TextStates

STATES_KEY = "states"
LENGTHS_KEY = "lengths"
LIBRARIES = ("torch", "transformers", "wanfarm")


class WanBackend:
    """Loads Wan checkpoints."""

    def clean_prompt(self, prompt: str) -> str:
        return clean_prompt(prompt)

    def warnings_of(self, states: bytes) -> tuple[str, ...]:
        lengths = _lengths(states)
        if lengths["num_tokens"] <= lengths["text_len"]:
            return ()
        return (f"the prompt is longer than {lengths['text_len']} tokens and was cut",)

    def open_text(self, plan: ModelPlan) -> WanTextEngine:
        pipeline = _load(plan, ("text",))
        if pipeline.text is None:
            raise RuntimeError("load returned no text encoder though it was asked for")
        return WanTextEngine(pipeline.text)

    def open_render(self, plan: ModelPlan) -> WanRenderEngine:
        return WanRenderEngine(_load(plan, ("dit", "vae")), plan)


class WanTextEngine:
    """umT5. States travel at their true length and in the encoder's dtype."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def encode(self, prompts: Sequence[str]) -> list[bytes]:
        states = self._encoder.encode(prompts)
        return [self._packed(prompt, text) for prompt, text in zip(prompts, states, strict=True)]

    def _packed(self, prompt: str, text: TextStates) -> bytes:
        # The length before cutting travels with the states: whoever meets them in a cache has no tokenizer.
        # One entry, since safetensors writes several in an order that changes from call to call.
        lengths = json.dumps({"num_tokens": self._encoder.num_tokens(prompt), "text_len": self._encoder.text_len})
        metadata = {LENGTHS_KEY: lengths}
        return bytes(safetensors.torch.save({STATES_KEY: text.states_TD.contiguous().cpu()}, metadata=metadata))


class WanRenderEngine:
    """DiT and VAE on one device."""

    def __init__(self, pipeline: WanPipeline, plan: ModelPlan) -> None:
        self._pipeline = pipeline
        self._plan = plan

    def execution(self, spec: ClipSpec, *, is_tame: bool = False) -> Execution:
        return Execution(
            device=device_kind(self._plan.device),
            threads=torch.get_num_threads(),
            attention="sdpa",
            libraries={name: version(name) for name in LIBRARIES},
            encoder=dict(encoder_settings(spec.codec)),
        )

    def render(self, order: Order, watch: Watch) -> Iterator[Frames]:
        spec, text = order.spec, order.text
        try:
            latents = self._pipeline.denoise(
                _states(text.positive),
                None if text.negative is None else _states(text.negative),
                _params(spec),
                first_frame=None if order.image is None else _first_frame(order.image, spec),
                on_step=watch.stepped,
            )
            yield from self._pipeline.decode(latents)
        except RequestError as error:
            raise InputError(f"the model cannot make this clip: {error}") from error
        except NonFiniteError as error:
            raise NotFiniteError(str(error)) from error
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise MemoryExhaustedError(f"out of memory: {error}") from error

    def rebuild(self) -> None:
        """Nothing can break that an exception leaves behind."""

    def close(self) -> None:
        """Weights go with the process."""


def device_kind(device: str) -> str:
    """The kind of a device as prices and records name it: "nvidia-h100-80gb-hbm3", "cpu-avx512"."""
    if device.startswith("cuda"):
        return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower())
    # The instruction set decides which kernels run, and with them the last bits.
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return f"cpu-{capability}" if platform.machine() == "x86_64" else f"cpu-{platform.machine()}-{capability}"


def _load(plan: ModelPlan, components: tuple[Component, ...]) -> WanPipeline:
    # cuDNN may otherwise pick kernels whose sums change from run to run.
    torch.backends.cudnn.deterministic = True
    try:
        return wan_model.load(
            plan.path, components=components, dtype=plan.dtype, device=plan.device, threads=plan.threads
        )
    except CheckpointError as error:
        raise ModelError(f"the model in {plan.path} cannot be loaded: {error}") from error


def _params(spec: ClipSpec) -> SamplingParams:
    return SamplingParams(
        width=spec.render_width,
        height=spec.render_height,
        num_frames=spec.num_frames,
        num_inference_steps=spec.num_inference_steps,
        guidance_high=spec.guidance_high,
        guidance_low=spec.guidance_low,
        shift=spec.shift,
        solver=spec.solver,
        profile=spec.profile,
        seed=spec.seed,
    )


def _lengths(states: bytes) -> dict[str, int]:
    """What `_packed` wrote beside the tensors, from the file's header."""
    size = int.from_bytes(states[:8], "little")
    lengths: dict[str, int] = json.loads(json.loads(states[8 : 8 + size])["__metadata__"][LENGTHS_KEY])
    return lengths


def _states(data: bytes) -> TextStates:
    return TextStates(states_TD=safetensors.torch.load(data)[STATES_KEY])


def _first_frame(image: bytes, spec: ClipSpec) -> torch.Tensor:
    picture = Image.fromarray(read_image(image))
    return first_frame_from_image(picture, width=spec.render_width, height=spec.render_height)
