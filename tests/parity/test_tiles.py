"""Decoding in tiles gives the whole frames' pixels, needs just the rows that it takes, and holds less memory."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import parallel_cases
import pytest
import torch
from parallel_cases import TINY_VAES, draw
from torch import Tensor

from wan_model.errors import NonFiniteError, RequestError
from wan_model.parallel import SINGLE
from wan_model.vae import WanVAE
from wan_model.vae.cache import InferenceCache
from wan_model.vae.model import Decoder
from wan_model.vae.tiles import cut_tiles, growths, halos
from wan_model.variants import VAE_2_1, VAE_2_2

TOLERANCE = 1e-5  # of the largest value, float32
GENERATIONS = list(TINY_VAES)


def tiled(vae: WanVAE, latents: Tensor, num_tiles: int) -> Tensor:
    """The frames before they are rounded."""
    fronts = list(vae.fronts(latents))
    tiles = cut_tiles(vae.decoder, num_rows=latents.shape[3], num_tiles=num_tiles)
    rows = []
    for tile in tiles:
        cache = InferenceCache()
        rows.append(torch.cat([vae.frames(tile.decode(vae.decoder, front, cache)) for front in fronts], dim=2))
    return torch.cat(rows, dim=3)


def off_by(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("num_rows", "num_tiles"), [(9, 2), (7, 3), (3, 3), (2, 5)])
@torch.no_grad()
def test_tiles_are_the_whole_frame(generation: str, num_rows: int, num_tiles: int) -> None:
    vae = parallel_cases.vae(TINY_VAES[generation])
    latents = draw(1, vae.config.z_dim, 3, num_rows, 3)
    whole = torch.cat(list(vae.decode(latents)), dim=2)
    assert off_by(tiled(vae, latents, num_tiles), whole) <= TOLERANCE


@pytest.mark.parametrize("generation", GENERATIONS)
@torch.no_grad()
def test_one_row_less_around_a_tile_is_wrong(generation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each place in turn, the others as they are: no halo has a row to spare. In float64: far rows count little."""
    vae = parallel_cases.redrawn(WanVAE(TINY_VAES[generation]), seed=3).double()
    enough = halos(vae.decoder)
    latents = draw(1, vae.config.z_dim, 2, 2 * enough[0] + 2, 1)
    whole = torch.cat(list(vae.decode(latents)), dim=2)
    rounding = off_by(tiled(vae, latents, 2), whole)
    assert rounding < 1e-12
    for place in range(len(enough)):
        short = one_less(enough, place, vae.decoder)
        with monkeypatch.context() as patch:
            patch.setattr("wan_model.vae.tiles.halos", lambda decoder, short=short: short)
            assert off_by(tiled(vae, latents, 2), whole) > 1e-10, place


def one_less(enough: tuple[int, ...], place: int, decoder: Decoder) -> tuple[int, ...]:
    """The halos with a row less at one place, and later as many as are left."""
    short, left = [], enough[0]
    for at, (halo, growth) in enumerate(zip(enough, growths(decoder), strict=True)):
        left = min(halo - (at == place), growth * left)
        short.append(left)
    return tuple(short)


def test_the_halos_of_the_official_decoders() -> None:
    with torch.device("meta"):
        reach = {name: halos(WanVAE(config).decoder) for name, config in (("2.1", VAE_2_1), ("2.2", VAE_2_2))}
    assert reach["2.1"] == (13, 11, 9, 7, 12, 10, 8, 6, 10, 8, 6, 4, 7, 5, 3, 1)
    assert reach["2.2"] == (13, 12, 10, 7, 1)


def test_frames_come_with_the_last_tile_and_every_piece_is_told() -> None:
    pipeline = parallel_cases.text_to_video()
    latents, pieces = draw(1, 16, 3, 4, 3), list[tuple[int, int]]()
    chunks = list(pipeline.decode(latents, tiles=2, on_chunk=lambda *piece: pieces.append(piece)))
    whole = np.concatenate(list(pipeline.decode(latents)))
    assert [len(chunk) for chunk in chunks] == [1, 4, 4]
    assert pieces == [(done, 9) for done in range(1, 10)]  # the front's latent frames, then each tile's
    pieces.clear()
    list(pipeline.decode(latents, tiles=9, on_chunk=lambda *piece: pieces.append(piece)))
    assert pieces[-1] == (15, 15)  # four rows make four tiles at most
    pieces.clear()
    list(pipeline.decode(latents, on_chunk=lambda *piece: pieces.append(piece)))
    assert pieces == [(1, 3), (2, 3), (3, 3)]
    differing = np.abs(np.concatenate(chunks).astype(int) - whole)
    assert differing.max() <= 1
    assert (differing > 0).mean() <= 1e-3


def test_nan_in_a_tile_is_an_error() -> None:
    vae = parallel_cases.redrawn(WanVAE(TINY_VAES["2.1"]), seed=3)
    vae.decoder.head[2].bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        list(replace(parallel_cases.text_to_video(), vae=vae).decode(draw(1, 16, 1, 4, 3), tiles=2))


def test_tiles_are_refused_where_they_mean_nothing() -> None:
    pipeline = parallel_cases.text_to_video()
    with pytest.raises(RequestError, match="tiles is 0"):
        list(pipeline.decode(draw(1, 16, 1, 4, 3), tiles=0))

    class TwoRanks(type(SINGLE.rows)):  # type: ignore[misc]
        degree = 2

    with pytest.raises(RequestError, match="tiles is 2 on 2 ranks"):
        list(pipeline.decode(draw(1, 16, 1, 4, 3), tiles=2, parallel=replace(SINGLE, rows=TwoRanks())))


PEAK = """
import sys, parallel_cases, torch
torch.set_num_threads(1)
tiles = int(sys.argv[1]) or None
pipeline, latents = parallel_cases.text_to_video(), parallel_cases.draw(1, 16, 3, 60, 20)
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
for frames in pipeline.decode(latents, tiles=tiles):
    pass
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_tiles_hold_less_memory() -> None:
    whole, in_six = peak_kib(0), peak_kib(6)
    assert in_six < 0.5 * whole


def peak_kib(num_tiles: int) -> int:
    paths = os.pathsep.join(str(path) for path in (Path(__file__).parent, Path(__file__).parents[1]))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PEAK, str(num_tiles)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    return int(done.stdout)
