"""The official Wan variants in one table: dimensions and defaults.

Sources: `wan/configs/` of Wan2.1 and Wan2.2, and the config files of the converted repositories.
"""

from __future__ import annotations

from dataclasses import replace

from wan_model.config import DiTConfig, ModelConfig, SamplingDefaults, TextConfig, VAEConfig

UMT5_XXL = TextConfig(vocab_size=256384, d_model=4096, d_ff=10240, num_heads=64, d_kv=64, num_layers=24)

# fmt: off
VAE_2_1 = VAEConfig(
    encoder_dim=96, decoder_dim=96, z_dim=16, dim_mult=(1, 2, 4, 4), num_res_blocks=2,
    temporal_downsample=(False, True, True), is_residual=False, patch_size=1,
    latents_mean=(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
                  0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    latents_std=(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                 3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)
VAE_2_2 = VAEConfig(
    encoder_dim=160, decoder_dim=256, z_dim=48, dim_mult=(1, 2, 4, 4), num_res_blocks=2,
    temporal_downsample=(False, True, True), is_residual=True, patch_size=2,
    latents_mean=(-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557,
                  -0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825,
                  -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
                  -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230,
                  -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
                  0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
    latents_std=(0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013,
                 0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
                 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
                 0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
                 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
                 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
)

_DIT_1_3B = DiTConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30, in_channels=16, out_channels=16,
                      text_dim=4096)
_DIT_14B = DiTConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40, in_channels=16, out_channels=16,
                     text_dim=4096)
_DIT_5B = DiTConfig(dim=3072, ffn_dim=14336, num_heads=24, num_layers=30, in_channels=48, out_channels=48,
                    text_dim=4096)
_DIT_I2V_2_1 = replace(_DIT_14B, in_channels=36, image_dim=1280)

_480P = SamplingDefaults(num_inference_steps=50, shift=5.0, guidance_high=5.0, guidance_low=5.0, fps=16, num_frames=81,
                         width=832, height=480)
_720P = replace(_480P, width=1280, height=720)


def _wan(name: str, dit: DiTConfig, defaults: SamplingDefaults, vae: VAEConfig = VAE_2_1, *,
         has_low_noise_expert: bool = False, expand_timesteps: bool = False) -> ModelConfig:
    return ModelConfig(name=name, text=UMT5_XXL, dit=dit, vae=vae, defaults=defaults,
                       has_low_noise_expert=has_low_noise_expert, expand_timesteps=expand_timesteps)


VARIANTS: dict[str, ModelConfig] = {config.name: config for config in (
    _wan("wan2.1-t2v-1.3b", _DIT_1_3B, replace(_480P, shift=8.0, guidance_high=6.0, guidance_low=6.0)),
    _wan("wan2.1-t2v-14b", _DIT_14B, _720P),
    _wan("wan2.1-i2v-14b-480p", _DIT_I2V_2_1, replace(_480P, num_inference_steps=40, shift=3.0)),
    _wan("wan2.1-i2v-14b-720p", _DIT_I2V_2_1, replace(_720P, num_inference_steps=40)),
    _wan("wan2.1-flf2v-14b", replace(_DIT_I2V_2_1, image_tokens=514),
         replace(_720P, shift=16.0, guidance_high=5.5, guidance_low=5.5)),
    _wan("wan2.1-vace-1.3b", replace(_DIT_1_3B, vace_layers=tuple(range(0, 30, 2)), vace_in_channels=96),
         replace(_480P, shift=16.0)),
    _wan("wan2.1-vace-14b", replace(_DIT_14B, vace_layers=tuple(range(0, 40, 5)), vace_in_channels=96),
         replace(_720P, shift=16.0)),
    _wan("wan2.2-t2v-a14b", _DIT_14B, replace(_720P, num_inference_steps=40, shift=12.0, guidance_high=4.0,
                                            guidance_low=3.0, boundary=0.875), has_low_noise_expert=True),
    _wan("wan2.2-i2v-a14b", replace(_DIT_14B, in_channels=36), replace(_720P, num_inference_steps=40, shift=5.0,
         guidance_high=3.5, guidance_low=3.5, boundary=0.900), has_low_noise_expert=True),
    _wan("wan2.2-ti2v-5b", _DIT_5B, replace(_720P, fps=24, num_frames=121, height=704), VAE_2_2, expand_timesteps=True),
)}
# fmt: on
