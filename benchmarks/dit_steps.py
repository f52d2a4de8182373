"""Denoising passes of the DiT against diffusers' with the same weights, alternated in one process: medians and ratio.

    python benchmarks/dit_steps.py [--tokens 80 320 1280] [--dtype float32 bfloat16] [--layers 2] [--threads 1]

A request is two prompts (guidance) over a number of steps; ours projects the text once per request, as it does in use.
Layers have the width of Wan 1.3B; a few of them are enough, since a pass is linear in their number.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from wan_model.config import DiTConfig
from wan_model.dit.model import FP32_PARAMETERS, WanDiT
from wan_model.text.states import TextStates
from wan_model.weights.keys import dit_to_diffusers

TEXT_DIM, TEXT_LEN, PROMPT_TOKENS = 4096, 512, (60, 126)
GRIDS = {80: (5, 8, 8), 320: (5, 16, 16), 1280: (5, 32, 32)}


def models(num_layers: int, dtype: torch.dtype) -> tuple[WanDiT, WanTransformer3DModel]:
    config = DiTConfig(
        dim=1536, ffn_dim=8960, num_heads=12, num_layers=num_layers, in_channels=16, out_channels=16, text_dim=TEXT_DIM
    )
    theirs = WanTransformer3DModel(
        num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=num_layers, text_dim=TEXT_DIM
    )
    ours = WanDiT(config)
    state = theirs.state_dict()
    ours.load_state_dict({name: state[dit_to_diffusers(name)] for name in ours.state_dict()})
    for name, parameter in ours.named_parameters():
        if not any(part in name for part in FP32_PARAMETERS):
            parameter.data = parameter.data.to(dtype)
    return ours.eval(), in_dtype(theirs.eval(), dtype)


def in_dtype(theirs: WanTransformer3DModel, dtype: torch.dtype) -> WanTransformer3DModel:
    """As `from_pretrained(torch_dtype=...)` leaves it: what diffusers keeps in fp32 stays."""
    for name, parameter in theirs.named_parameters():
        if not any(kept in name for kept in theirs._keep_in_fp32_modules):
            parameter.data = parameter.data.to(dtype)
    return theirs


def requests(
    ours: WanDiT, theirs: WanTransformer3DModel, latents: Tensor, num_steps: int
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    dtype = latents.dtype
    prompts = [TextStates(states_TD=torch.randn(tokens, TEXT_DIM, dtype=dtype)) for tokens in PROMPT_TOKENS]
    padded = [torch.nn.functional.pad(text.states_TD, (0, 0, 0, TEXT_LEN - text.num_tokens))[None] for text in prompts]
    timesteps = torch.linspace(999, 100, num_steps)

    def run_ours() -> Tensor:
        conditions = [ours.condition([text]) for text in prompts]
        outputs = [ours(latents, t[None], condition) for t in timesteps for condition in conditions]
        return outputs[-1]

    def run_theirs() -> Tensor:
        outputs = [theirs(latents, t[None], text, return_dict=False)[0] for t in timesteps for text in padded]
        return outputs[-1]

    return run_ours, run_theirs


def alternate(
    first: Callable[[], Tensor], second: Callable[[], Tensor], repeats: int
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, taken in zip((first, second), times, strict=True):
            begun = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begun)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=list(GRIDS), choices=list(GRIDS))
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    for name in arguments.dtype:
        ours, theirs = models(arguments.layers, getattr(torch, name))
        for tokens in arguments.tokens:
            latents = torch.randn(1, 16, *GRIDS[tokens], dtype=getattr(torch, name))
            with torch.inference_mode():
                run_ours, run_theirs = requests(ours, theirs, latents, arguments.steps)
                error = ((run_ours() - run_theirs()).abs().max() / run_theirs().abs().max()).item()
                mine, other = alternate(run_ours, run_theirs, arguments.repeats)
            ratio = statistics.median(other) / statistics.median(mine)
            print(
                f"{name:8} {tokens:5} tokens: ours {statistics.median(mine):.3f} s, diffusers "
                f"{statistics.median(other):.3f} s, {ratio:.2f}x (largest difference {error:.1e})",
                flush=True,
            )


if __name__ == "__main__":
    main()
