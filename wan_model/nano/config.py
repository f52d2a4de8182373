"""The nano model's dimensions and defaults, one complete value beside those of the official variants."""

from __future__ import annotations

from wan_model.config import DiTConfig, ModelConfig, SamplingDefaults, TextConfig, VAEConfig

# fmt: off
NANO = ModelConfig(
    name="nano",
    text=TextConfig(vocab_size=256, d_model=128, d_ff=256, num_heads=4, d_kv=32, num_layers=3),
    dit=DiTConfig(dim=192, ffn_dim=768, num_heads=4, num_layers=6, in_channels=12, out_channels=12, text_dim=128),
    vae=VAEConfig(encoder_dim=24, decoder_dim=32, z_dim=12, dim_mult=(1, 2, 2), num_res_blocks=1,
                  temporal_downsample=(True, True), is_residual=True, patch_size=2,
                  # of the weights in this folder; training measures its own
                  latents_mean=(0.1495, -0.6318, 1.1645, -2.6621, -1.3559, -0.3297,
                                1.8564, 1.8915, -1.3187, 1.9567, -1.6315, -1.0244),
                  latents_std=(1.2596, 1.2315, 1.6629, 2.2734, 1.4563, 1.1236,
                               1.6123, 1.4739, 1.3863, 1.4207, 1.898, 1.5117)),
    defaults=SamplingDefaults(num_inference_steps=20, shift=3.0, guidance_high=3.0, guidance_low=3.0, fps=8,
                              num_frames=17, width=64, height=64, negative_prompt=""),
    expand_timesteps=True,
)
# fmt: on
