"""A few steps of each training lower its loss, and a run that was cut off goes on to the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wan_model.config import ModelConfig
from wan_model.nano.config import NANO
from wan_model.nano.train_dit import LatentClips, encode_clips, train_dit
from wan_model.nano.train_vae import Stage, train_vae, vae_batch, with_latent_statistics
from wan_model.nano.training import Budget, Moment, averaged_weights, fit, learning_rate
from wan_model.nano.world import is_held_out, sample_scenes
from wan_model.vae import WanVAE

SMALL_VAE = replace(NANO.vae, encoder_dim=8, decoder_dim=8, z_dim=4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4)


@pytest.fixture
def small() -> ModelConfig:
    dit = replace(NANO.dit, dim=48, ffn_dim=96, num_heads=2, num_layers=2, in_channels=4, out_channels=4, text_dim=32)
    text = replace(NANO.text, d_model=32, d_ff=48, num_heads=2, d_kv=16, num_layers=1)
    return replace(NANO, vae=SMALL_VAE, dit=dit, text=text)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)

    def loss(self, moment: Moment) -> Tensor:
        x = torch.randn(8, 4, generator=moment.torch_rng)
        target = x.sum(dim=1, keepdim=True) + float(moment.numpy_rng.random()) * 0.01
        return (self.layer(x) - target).square().mean()


def run(path: Path, *, stop_at: int | None = None, is_resumed: bool = False) -> tuple[Line, list[float]]:
    line = Line()

    def loss_of(moment: Moment) -> Tensor:
        if moment.step == stop_at:
            raise KeyboardInterrupt
        return line.loss(moment)

    budget = Budget(minutes=1000, max_steps=60)
    losses = fit(line, loss_of, budget=budget, peak_learning_rate=0.3, checkpoint=path, is_resumed=is_resumed,
                 checkpoint_every_s=0)  # fmt: skip
    return line, losses


def test_a_run_that_was_cut_off_ends_at_the_same_weights(tmp_path: Path) -> None:
    whole, losses = run(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut.pt", stop_at=25)
    resumed, rest = run(tmp_path / "cut.pt", is_resumed=True)
    assert rest == losses[25:]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 2


def test_the_model_ends_with_its_averaged_weights(tmp_path: Path) -> None:
    line, _ = run(tmp_path / "line.pt")
    assert torch.equal(averaged_weights(tmp_path / "line.pt")["layer.weight"], line.layer.weight)


def test_without_resume_a_run_begins_anew(tmp_path: Path) -> None:
    _, first = run(tmp_path / "line.pt")
    _, again = run(tmp_path / "line.pt")
    assert again == first


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    assert learning_rate(1.0, step=0, fraction=0.0) < 0.02
    assert learning_rate(1.0, step=500, fraction=0.3) == 1.0
    assert learning_rate(1.0, step=900, fraction=1.0) == pytest.approx(0.0)


def test_the_budget_is_spent_by_time_or_steps() -> None:
    assert Budget(minutes=1).fraction(10**6, 30.0) == 0.5
    assert Budget(minutes=1, max_steps=10).fraction(8, 30.0) == 0.8
    assert Budget(minutes=1).fraction(0, 90.0) == 1.0


def test_vae_training_lowers_the_loss_through_all_stages(tmp_path: Path) -> None:
    stages = (
        Stage(until=0.8, num_frames=1, batch_size=4),
        Stage(until=0.95, num_frames=5, batch_size=1),
        Stage(until=1, num_frames=17, batch_size=1),
    )
    budget = Budget(minutes=1000, max_steps=60)
    vae, losses = train_vae(
        SMALL_VAE, budget=budget, checkpoint=tmp_path / "vae.pt", stages=stages, num_statistics_clips=16
    )
    assert np.mean(losses[40:48]) < 0.7 * np.mean(losses[:5])
    assert min(vae.config.latents_std) > 0
    assert vae.config.latents_mean != SMALL_VAE.latents_mean


def test_the_latent_statistics_normalise(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = with_latent_statistics(WanVAE(SMALL_VAE), num_clips=16)
    latents = vae.encode(vae_batch(np.random.default_rng(5), 8, num_frames=5))
    assert latents.mean().abs() < 0.5
    assert 0.5 < latents.std() < 2


def test_vae_batches_hold_colours_that_no_caption_names() -> None:
    corners = vae_batch(np.random.default_rng(0), 40, num_frames=1)[:, :, 0, 0, 0]
    assert len({tuple(corner.tolist()) for corner in corners}) > 6


def test_the_dit_trains_on_encoded_clips_of_seen_combinations(small: ModelConfig) -> None:
    torch.manual_seed(0)
    clips = encode_clips(WanVAE(small.vae), num_clips=16)
    assert clips.latents.shape == (16, 4, 5, 8, 8)
    assert not any(is_held_out(attributes) for attributes in clips.attributes)


def test_dit_training_lowers_the_loss(small: ModelConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    scenes = sample_scenes(np.random.default_rng(0), 64)
    latents = torch.randn(64, 4, 1, 1, 1).expand(-1, -1, 5, 8, 8)
    clips = LatentClips(latents=latents, attributes=[scene.attributes for scene in scenes])
    budget = Budget(minutes=1000, max_steps=60)
    model, losses = train_dit(small, clips, budget=budget, checkpoint=tmp_path / "dit.pt", batch_size=8)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    assert set(averaged_weights(tmp_path / "dit.pt")) == set(model.state_dict())
