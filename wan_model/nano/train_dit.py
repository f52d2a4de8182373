"""Trains the nano DiT and its text encoder together, by flow matching on latents of the made-up world.

One set of weights learns text-to-video and, with a clean first frame whose tokens are told timestep 0, image-to-video.

Legend: N clips, B batch, C channels, F latent frames, H height, W width (of latents), T text tokens, D text model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from wan_model.config import ModelConfig
from wan_model.dit.model import WanDiT
from wan_model.nano.captions import training_caption
from wan_model.nano.tokenizer import build_tokenizer
from wan_model.nano.train_vae import as_tensor
from wan_model.nano.training import Budget, Moment, fit
from wan_model.nano.world import Attributes, render, sample_scenes
from wan_model.text.states import TextStates
from wan_model.vae import WanVAE
from wan_model.weights.load import build_text_encoder

PEAK_LEARNING_RATE = 1e-3
BATCH_SIZE = 32
NUM_CLIPS = 12_000
EMPTY_CAPTION_RATE = 0.10
CLEAN_FIRST_FRAME_RATE = 0.375
SHORT_CLIP_RATE = 0.15
# Noise levels are logit-normal, moved towards noise as the sampler's shift moves its grid.
# Far towards noise: a shape is so large and plain that where it goes is settled above a level of 0.9.
LEVEL_MEAN, LEVEL_SPREAD = 1.6, 1.4
POSITION_BIAS = 2.0
_ENCODE_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentClips:
    """Encoded clips (N, C, F, H, W), normalised, and what each shows."""

    latents: Tensor
    attributes: list[Attributes]


class NanoDenoiser(nn.Module):
    """The two networks that train together."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dit = WanDiT(config.dit)
        self.text = build_text_encoder(config.text)
        start_by_reading_words(self.dit)
        start_by_telling_places(self.text)


@torch.no_grad()
def start_by_reading_words(dit: WanDiT) -> None:
    """Lets cross-attention look at the words from the first step on.

    A short prompt stands beside some 500 equal rows of padding, which start with most of the attention: of 2,000 steps
    from the usual initialisation only colours were learned. So text rows and their values begin at unit variance, the
    padding's value at zero, and queries begin with a direction that the padding's key, and no other, points away from.
    """
    first, _, last = list[Any](dit.text_embedding)
    blocks = list[Any](dit.blocks)
    projections = [layer for block in blocks for layer in (block.cross_attn.k, block.cross_attn.v)]
    for layer, gain in ((first, 1.0), (last, 1.6), *((projection, 1.0) for projection in projections)):
        nn.init.normal_(layer.weight, std=gain / layer.in_features**0.5)
        nn.init.zeros_(layer.bias)
    for block in blocks:
        # The padding's key is this bias alone, which the norm then brings to full size.
        block.cross_attn.k.bias.fill_(-0.1)
        block.cross_attn.q.bias.fill_(0.4)


@torch.no_grad()
def start_by_telling_places(encoder: UMT5EncoderModel) -> None:
    """Lets each head of the text encoder prefer some distances to others from the first step on.

    T5 starts with position biases of some 0.1, and words then have the same states in every order: after 7,000 steps
    "from left to right" was still "from right to left".
    """
    for name, parameter in encoder.named_parameters():
        if "relative_attention_bias" in name:
            nn.init.normal_(parameter, std=POSITION_BIAS)


@torch.no_grad()
def encode_clips(vae: WanVAE, *, num_clips: int = NUM_CLIPS, seed: int = 2) -> LatentClips:
    """Draws clips of the combinations that training may see, and encodes them in bfloat16, in whole batches."""
    rng = np.random.default_rng(seed)
    mean, std = (torch.tensor(part).view(-1, 1, 1, 1) for part in (vae.config.latents_mean, vae.config.latents_std))
    latents, attributes = [], list[Attributes]()
    for _ in range(0, num_clips, _ENCODE_BATCH):
        scenes = sample_scenes(rng, _ENCODE_BATCH)
        moments, _ = vae.moments(as_tensor(render(scenes)).bfloat16())
        latents.append((moments.float() - mean) / std)
        attributes += [scene.attributes for scene in scenes]
    return LatentClips(latents=torch.cat(latents).contiguous(), attributes=attributes)


def train_dit(
    config: ModelConfig,
    clips: LatentClips,
    *,
    budget: Budget,
    checkpoint: Path,
    seed: int = 0,
    is_resumed: bool = False,
    batch_size: int = BATCH_SIZE,
) -> tuple[NanoDenoiser, list[float]]:
    """The DiT and the text encoder with averaged weights, and the losses on the way."""
    torch.manual_seed(seed)
    model = NanoDenoiser(config)
    tokenizer = build_tokenizer(text_len=config.text.text_len)

    def loss_of(moment: Moment) -> Tensor:
        return flow_loss(model, tokenizer, clips, moment, batch_size=batch_size)

    losses = fit(model, loss_of, budget=budget, peak_learning_rate=PEAK_LEARNING_RATE, checkpoint=checkpoint, seed=seed,
                 is_resumed=is_resumed)  # fmt: skip
    return model, losses


def flow_loss(
    model: NanoDenoiser, tokenizer: PreTrainedTokenizerFast, clips: LatentClips, moment: Moment, *, batch_size: int
) -> Tensor:
    """Squared error of the velocity (noise minus clip) over the frames that are noisy."""
    rng, generator = moment.numpy_rng, moment.torch_rng
    chosen = rng.integers(len(clips.attributes), size=batch_size)
    x0 = clips.latents[torch.from_numpy(chosen)][:, :, : _num_frames(rng, clips.latents.shape[2])]
    captions = [_caption(rng, clips.attributes[index]) for index in chosen]
    noise = torch.randn(x0.shape, generator=generator)
    level_B = torch.sigmoid(LEVEL_MEAN + LEVEL_SPREAD * torch.randn(batch_size, generator=generator))
    level_BF = level_B[:, None].repeat(1, x0.shape[2])
    if x0.shape[2] > 1:
        level_BF[torch.rand(batch_size, generator=generator) < CLEAN_FIRST_FRAME_RATE, 0] = 0
    level = level_BF[:, None, :, None, None]
    noisy = torch.lerp(x0, noise, level)
    condition = model.dit.condition(text_states(model.text, tokenizer, captions))
    velocity = model.dit(noisy.bfloat16(), level_BF * 1000, condition).float()
    is_noisy = (level > 0).float()
    return ((velocity - (noise - x0)).square() * is_noisy).sum() / is_noisy.expand_as(x0).sum()


def text_states(encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> list[TextStates]:
    """Each caption's states at its own length, in bfloat16 for the DiT's pass."""
    tokens = tokenizer(captions, padding=True, return_tensors="pt")
    states_BTD = encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state.bfloat16()
    lengths = tokens.attention_mask.sum(dim=1).tolist()
    return [TextStates(states_TD=states[:length]) for states, length in zip(states_BTD, lengths, strict=True)]


def _caption(rng: np.random.Generator, attributes: Attributes) -> str:
    return "" if rng.random() < EMPTY_CAPTION_RATE else training_caption(rng, attributes)


def _num_frames(rng: np.random.Generator, available: int) -> int:
    """Mostly all; some batches are cut short (a causal VAE's prefix is a shorter clip's latents)."""
    return int(rng.integers(1, available)) if rng.random() < SHORT_CLIP_RATE and available > 1 else available
