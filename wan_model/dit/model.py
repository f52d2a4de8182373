"""Wan's diffusion transformer (Wan2.1 and Wan2.2, `wan/modules/model.py`, `vace_model.py`), written for one device.

Legend: B batch, C channels, F frames, H height, W width (of latents), L tokens, M tokens on this rank,
S timestep segments, D model, K head dim, P values of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_model.config import DiTConfig
from wan_model.dit.condition import Condition, collapse_padding
from wan_model.dit.layers import Block, BlockCondition, Head, ImageEmbedding, Linear, VaceBlock
from wan_model.dit.position import rope_table, timestep_sinusoid
from wan_model.parallel import WHOLE_SEQUENCE, SequenceParallel
from wan_model.text.states import TextStates

FP32_PARAMETERS = ("time_embedding.", "time_projection.", "modulation", "norm")
"""Parameters whose name contains one of these stay in fp32 whatever the model's dtype."""


class PatchEmbedding(nn.Module):
    """Cuts latents into patches and projects each: the official strided convolution, as a matrix product."""

    def __init__(self, in_channels: int, config: DiTConfig) -> None:
        super().__init__()
        conv = nn.Conv3d(in_channels, config.dim, kernel_size=config.patch_size, stride=config.patch_size)
        self.weight, self.bias = conv.weight, conv.bias
        self.patch_size = config.patch_size

    def forward(self, latents_BCFHW: Tensor) -> Tensor:
        t, h, w = self.patch_size
        x = latents_BCFHW.unflatten(4, (-1, w)).unflatten(3, (-1, h)).unflatten(2, (-1, t))
        patches_BLP = x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)
        weight, bias = self.weight.flatten(1), self.bias
        return F.linear(patches_BLP, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


class WanDiT(nn.Module):
    """Predicts the velocity (noise minus clip) of noisy latents under a text.

    One forward serves every mode: channel-conditioned models get their condition concatenated to the latents, TI2V
    gives a timestep per frame or token, VACE an extra context. Sequence parallelism is the value `parallel`.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.patch_embedding = PatchEmbedding(config.in_channels, config)
        self.text_embedding = nn.Sequential(Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), Linear(dim, dim))
        self.time_embedding = nn.Sequential(Linear(config.freq_dim, dim), nn.SiLU(), Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = Head(config)
        if config.image_dim is not None:
            self.img_emb = ImageEmbedding(config, config.image_dim)
        if config.vace_in_channels is not None:
            self.vace_patch_embedding = PatchEmbedding(config.vace_in_channels, config)
            self.vace_blocks = nn.ModuleList(VaceBlock(config, is_first=i == 0) for i in range(len(config.vace_layers)))

    def condition(self, text: Sequence[TextStates], *, image_BTD: Tensor | None = None) -> Condition:
        """Projects a request's text (one entry per batch row) and CLIP's image states for all blocks, once.

        `image_BTD` is (B, 257, image_dim), or (B, 514, image_dim) for FLF2V. Raises ValueError if a prompt has
        more than `text_len` tokens, or if image states and the model's `image_dim` don't go together.
        """
        if (image_BTD is not None) != (self.config.image_dim is not None):
            has, needs = image_BTD is not None, self.config.image_dim is not None
            raise ValueError(f"image states given: {has}, but the model needs them: {needs}")
        stacked, bias_BT = collapse_padding(text, self.config.text_len)
        text_BTD = self.text_embedding(stacked)
        image_BTD = None if image_BTD is None else self.img_emb(image_BTD)
        return Condition(
            blocks=self._condition_blocks(self.blocks, text_BTD, image_BTD),
            vace_blocks=self._condition_blocks(getattr(self, "vace_blocks", ()), text_BTD, image_BTD),
            text_bias_BT=bias_BT,
        )

    @staticmethod
    def _condition_blocks(
        blocks: Iterable[nn.Module], text: Tensor, image: Tensor | None
    ) -> tuple[BlockCondition, ...]:
        return tuple(block.cross_attn.condition(text, image) for block in blocks)

    def forward(
        self,
        latents_BCFHW: Tensor,
        timestep: Tensor,
        condition: Condition,
        *,
        vace_context: Tensor | None = None,
        vace_scale: float = 1.0,
        parallel: SequenceParallel = WHOLE_SEQUENCE,
    ) -> Tensor:
        """One pass.

        Args:
            latents_BCFHW: noisy latents, with their condition channels if the model has such; their dtype is the
                compute dtype.
            timestep: (B,), or (B, S) with S equal runs of tokens in F, H, W order: S = F gives each latent frame
                its own.
            vace_context: (B, vace_in_channels, F, H, W).
            vace_scale: weight of the control's hints.

        Returns:
            The velocity (B, out_channels, F, H, W), in the compute dtype.
        """
        t, h, w = self.config.patch_size
        _, _, frames, height, width = latents_BCFHW.shape
        grid = (frames // t, height // h, width // w)
        num_tokens = grid[0] * grid[1] * grid[2]
        rope_LK = rope_table(self.config.head_dim, grid).to(latents_BCFHW.device)
        time_BSD, time_BS6D = self._time(timestep, num_tokens, parallel)
        walk: dict[str, object] = {
            "time_BS6D": time_BS6D,
            "text_bias_BT": condition.text_bias_BT,
            "rope_MK": parallel.split_tokens(rope_LK[None])[0],
            "parallel": parallel,
            "num_tokens": num_tokens,
        }
        x_BMD = parallel.split_tokens(self.patch_embedding(latents_BCFHW))
        hints = self._hints(x_BMD, vace_context, condition, walk, parallel)
        for index, (block, context) in enumerate(zip(self.blocks, condition.blocks, strict=True)):
            x_BMD = block(x_BMD, context, **walk)
            if index in hints:
                x_BMD = x_BMD + hints[index] * vace_scale
        patches_BLP = parallel.gather_tokens(self.head(x_BMD, time_BSD), num_tokens)
        return self._unpatchify(patches_BLP, grid)

    def _time(self, timestep: Tensor, num_tokens: int, parallel: SequenceParallel) -> tuple[Tensor, Tensor]:
        """The timestep's embedding (B, S, D) and modulation (B, S, 6, D) in fp32.

        With sequence parallelism several segments become one per token: a rank's share may end within a segment.
        """
        segments = timestep[:, None] if timestep.ndim == 1 else timestep
        if num_tokens % segments.shape[1]:
            raise ValueError(f"{segments.shape[1]} timestep segments do not divide {num_tokens} tokens")
        embedded_BSD: Tensor = self.time_embedding(timestep_sinusoid(segments, self.config.freq_dim))
        modulation_BS6D = self.time_projection(embedded_BSD).unflatten(-1, (6, -1))
        if parallel.degree == 1 or segments.shape[1] == 1:
            return embedded_BSD, modulation_BS6D
        tokens_1L = torch.arange(num_tokens, device=timestep.device)[None]
        segment_M = parallel.split_tokens(tokens_1L // (num_tokens // segments.shape[1]))[0]
        return embedded_BSD[:, segment_M], modulation_BS6D[:, segment_M]

    def _hints(
        self,
        x_BMD: Tensor,
        vace_context: Tensor | None,
        condition: Condition,
        walk: dict[str, object],
        parallel: SequenceParallel,
    ) -> dict[int, Tensor]:
        """What the VACE blocks add after the main blocks named by `vace_layers`."""
        if (vace_context is None) != (self.config.vace_in_channels is None):
            raise ValueError("a VACE model needs a vace_context, and no other model takes one")
        if vace_context is None:
            return {}
        c_BMD = parallel.split_tokens(self.vace_patch_embedding(vace_context))
        c_BMD = self.vace_blocks[0].before_proj(c_BMD) + x_BMD
        hints = {}
        for layer, block, context in zip(self.config.vace_layers, self.vace_blocks, condition.vace_blocks, strict=True):
            c_BMD = block(c_BMD, context, **walk)
            hints[layer] = block.after_proj(c_BMD)
        return hints

    def _unpatchify(self, patches_BLP: Tensor, grid: tuple[int, int, int]) -> Tensor:
        x = patches_BLP.unflatten(2, (*self.config.patch_size, -1)).unflatten(1, grid)
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
