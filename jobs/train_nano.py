"""Trains the embedded nano model, and evaluates a trained one.

python -m jobs.train_nano train --out /tmp/nano            # VAE, then DiT with text encoder, then export
python -m jobs.train_nano evaluate --model nano            # 200 clips through the pipeline, judged
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

if TYPE_CHECKING:
    from wan_model.config import ModelConfig

log = logging.getLogger(__name__)
app = App(name="train_nano", help=__doc__)


@app.command
def train(
    out: Path,
    *,
    minutes_vae: float = 30,
    minutes_dit: float = 40,
    num_clips: int = 12_000,
    seed: int = 0,
    resume: bool = False,
    threads: int = 2,
) -> None:
    """Train from nothing on CPU and write OUT/weights, a diffusers folder.

    Args:
        out: where checkpoints (vae.pt, dit.pt) and the finished weights go.
        minutes_vae: training time of the VAE.
        minutes_dit: training time of the DiT and the text encoder.
        num_clips: clips of the world that the DiT trains on.
        seed: of weights and data.
        resume: go on from the checkpoints in OUT; raise the minutes to train a finished part further.
        threads: CPU threads.
    """
    import torch

    from wan_model.nano.config import NANO
    from wan_model.nano.export import export_nano
    from wan_model.nano.train_dit import encode_clips, train_dit
    from wan_model.nano.train_vae import train_vae
    from wan_model.nano.training import Budget

    torch.set_num_threads(threads)
    vae, _ = train_vae(
        NANO.vae, budget=Budget(minutes=minutes_vae), checkpoint=out / "vae.pt", seed=seed, is_resumed=resume
    )
    config: ModelConfig = replace(NANO, vae=vae.config)
    log.info("encoding %d clips", num_clips)
    clips = encode_clips(vae, num_clips=num_clips)
    model, _ = train_dit(
        config, clips, budget=Budget(minutes=minutes_dit), checkpoint=out / "dit.pt", seed=seed, is_resumed=resume
    )
    export_nano(out / "weights", config, model=model, vae=vae)
    log.info("wrote %s", out / "weights")


@app.command
def evaluate(
    model: str = "nano",
    *,
    count: int = 200,
    images: bool = False,
    steps: int | None = None,
    guidance: float | None = None,
    sheet: Path | None = None,
    threads: int = 2,
) -> None:
    """Render COUNT prompts, half of combinations unseen in training, and print how many show what was asked for.

    Args:
        model: "nano", the embedded weights, or a folder.
        count: number of prompts.
        images: give each prompt a first frame (image-to-video).
        steps: denoising steps; the model's default if not given.
        guidance: guidance scale; the model's default if not given.
        sheet: write a PNG contact sheet of the first 16 clips here.
        threads: CPU threads.
    """
    import wan_model
    from wan_model.nano import evaluate as evaluation

    pipeline = wan_model.load(model, threads=threads)
    asked = {"num_inference_steps": steps, "guidance_high": guidance}
    overrides = {name: value for name, value in asked.items() if value is not None}
    cases = evaluation.make_cases(count, has_image=images)
    outcomes = list(evaluation.evaluate(pipeline, cases, **overrides))
    print(evaluation.report(outcomes))  # noqa: T201
    if sheet is not None:
        evaluation.contact_sheet([outcome.frames for outcome in outcomes[:16]]).save(sheet)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    app()
