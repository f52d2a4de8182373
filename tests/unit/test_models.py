"""Cards agree with wan_model's own tables; a model is found, recognised by its dimensions, and known by its bytes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wan_model.nano.config
from farm.errors import ModelError
from farm.models import CARDS, NANO_CARD, Card, resolve_model
from farm.models import fingerprint as fingerprints
from farm.models.fingerprint import CACHE_NAME, fingerprint
from farm.models.folder import read_dims
from farm.models.resolve import match_card
from farm.settings import Settings
from wan_model.config import ModelConfig
from wan_model.nano.config import NANO
from wan_model.variants import VARIANTS

KNOWN_CONFIGS = {**VARIANTS, "nano": NANO}


@pytest.mark.parametrize("name", KNOWN_CONFIGS)
def test_cards_and_the_models_tables_agree(name: str) -> None:
    config, card = KNOWN_CONFIGS[name], CARDS[name]
    for field in dataclasses.fields(card.defaults):
        assert getattr(card.defaults, field.name) == getattr(config.defaults, field.name), field.name
    dit, vae, text = card.dims.dit, card.dims.vae, card.dims.text
    for field in dataclasses.fields(dit):
        if field.name != "num_vace_layers":
            assert getattr(dit, field.name) == getattr(config.dit, field.name), field.name
    assert dit.num_vace_layers == len(config.dit.vace_layers)
    for field in dataclasses.fields(vae):
        assert getattr(vae, field.name) == getattr(config.vae, field.name), field.name
    for field in dataclasses.fields(text):
        assert getattr(text, field.name) == getattr(config.text, field.name), field.name
    assert card.dims.num_experts == 1 + config.has_low_noise_expert
    assert card.dims.expand_timesteps == config.expand_timesteps
    assert card.dims.boundary == config.defaults.boundary
    assert card.size_multiple == config.size_multiple
    width, height = card.defaults.width, card.defaults.height
    latent = config.vae.latent_shape(card.defaults.num_frames, height, width)
    assert card.dims.num_tokens(width, height, num_frames=card.defaults.num_frames) == (
        latent[1] * latent[2] * latent[3] // 4
    )


def test_the_catalogue_has_every_official_variant_and_the_faqs_four() -> None:
    assert set(CARDS) == {*VARIANTS, "nano", "wan2.6-14b", "wan2.6-1.3b", "wan3.0-14b", "wan3.0-1.3b"}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_cards_defaults_are_within_its_limits(card: Card) -> None:
    default = card.defaults
    assert card.limits.holds_size(*card.render_size(default.width, default.height))
    assert default.num_frames <= card.max_frames
    assert (default.num_frames - 1) % card.frame_step == 0
    for named in card.named_sizes:
        assert named.render_width % card.size_multiple == named.render_height % card.size_multiple == 0
        assert named.render_width >= named.width
        assert named.render_height >= named.height
        assert card.limits.holds_size(named.render_width, named.render_height)


def test_the_faqs_limits() -> None:
    assert [(CARDS[name].limits.max_size, CARDS[name].max_frames) for name in
            ("wan2.6-14b", "wan2.6-1.3b", "wan3.0-14b", "wan3.0-1.3b")] == [
        ((1280, 720), 129), ((1280, 720), 129), ((1920, 1088), 161), ((1280, 720), 161)]  # fmt: skip


# --- folders


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def diffusers_folder(folder: Path, config: ModelConfig, *, weights: bytes = b"weights") -> Path:
    """The configuration files of a diffusers repository of that model, and one file for weights."""
    dit, vae, text = config.dit, config.vae, config.text
    low = ["diffusers", "WanTransformer3DModel"] if config.has_low_noise_expert else [None, None]
    write_json(folder / "model_index.json", {"transformer_2": low, "expand_timesteps": config.expand_timesteps})
    write_json(
        folder / "transformer" / "config.json",
        {
            "num_attention_heads": dit.num_heads, "attention_head_dim": dit.head_dim, "ffn_dim": dit.ffn_dim,
            "num_layers": dit.num_layers, "in_channels": dit.in_channels, "out_channels": dit.out_channels,
            "image_dim": dit.image_dim, "pos_embed_seq_len": dit.image_tokens, "vace_layers": dit.vace_layers,
        },
    )  # fmt: skip
    write_json(
        folder / "vae" / "config.json",
        {
            "base_dim": vae.encoder_dim, "decoder_base_dim": vae.decoder_dim, "z_dim": vae.z_dim,
            "dim_mult": vae.dim_mult, "num_res_blocks": vae.num_res_blocks,
            "temperal_downsample": vae.temporal_downsample,
            "patch_size": vae.patch_size if vae.patch_size > 1 else None,
        },
    )  # fmt: skip
    write_json(folder / "text_encoder" / "config.json", dataclasses.asdict(text))
    (folder / "transformer" / "model.safetensors").write_bytes(weights)
    return folder


def official_folder(folder: Path, config: ModelConfig, *, model_type: str) -> Path:
    place = folder / "high_noise_model" if config.has_low_noise_expert else folder
    dit = config.dit
    write_json(
        place / "config.json",
        {
            "dim": dit.dim, "ffn_dim": dit.ffn_dim, "num_heads": dit.num_heads, "num_layers": dit.num_layers,
            "in_dim": dit.in_channels, "out_dim": dit.out_channels, "model_type": model_type,
            "vace_layers": dit.vace_layers,
        },
    )  # fmt: skip
    (place / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("name", KNOWN_CONFIGS)
def test_a_diffusers_folder_is_recognised(tmp_path: Path, name: str) -> None:
    folder = diffusers_folder(tmp_path / f"{name}-Diffusers", KNOWN_CONFIGS[name])
    found = resolve_model(str(folder), Settings(cache_dir=tmp_path / "cache"))
    assert (found.name, found.path) == (name, str(folder))


@pytest.mark.parametrize("name", VARIANTS)
def test_an_official_folder_is_recognised(tmp_path: Path, name: str) -> None:
    kinds = ("flf2v", "ti2v", "vace", "i2v", "t2v")
    folder = official_folder(tmp_path / name, VARIANTS[name], model_type=next(kind for kind in kinds if kind in name))
    card = match_card(folder, read_dims(folder))
    assert card.name == name
    assert card.dims.boundary == VARIANTS[name].defaults.boundary


def test_of_models_of_equal_dimensions_the_folders_name_decides() -> None:
    dims = CARDS["wan2.6-14b"].dims
    assert match_card(Path("/m/Wan-2.6_14B"), dims).name == "wan2.6-14b"
    assert match_card(Path("/m/models--Wan-AI--Wan3.0-14B/snapshots/abc"), dims).name == "wan3.0-14b"
    assert match_card(Path("/m/mine"), dims).name == "wan2.1-t2v-14b"


def test_an_unknown_folder_gets_a_generic_card(tmp_path: Path) -> None:
    config = dataclasses.replace(NANO, dit=dataclasses.replace(NANO.dit, num_layers=2))
    card = resolve_model(str(diffusers_folder(tmp_path / "mine", config)), Settings(cache_dir=tmp_path)).card
    assert card.name == "mine"
    assert card.dims.dit.num_layers == 2
    assert card.size_multiple == 16
    assert "image-to-video" in card.modes
    assert card.unsupported is None


def test_a_missing_model_says_what_was_looked_for_and_where(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, model_dirs=(tmp_path / "models",))
    with pytest.raises(ModelError) as caught:
        resolve_model("wan2.1-t2v-1.3b", settings)
    assert "wan2.1-t2v-1.3b" in str(caught.value)
    assert str(tmp_path / "models" / "wan2.1-t2v-1.3b") in str(caught.value)
    with pytest.raises(ModelError, match="neither model_index"):
        resolve_model(str(tmp_path), settings)
    with pytest.raises(ModelError, match="WANFARM_MODELS"):
        resolve_model("nowhere", Settings(cache_dir=tmp_path))


def test_a_name_is_looked_for_in_the_model_folders(tmp_path: Path) -> None:
    folder = diffusers_folder(tmp_path / "models" / "small", NANO)
    found = resolve_model("small", Settings(cache_dir=tmp_path, model_dirs=(tmp_path / "models",)))
    assert (found.path, found.name) == (str(folder), "nano")


def test_damaged_configurations_are_named(tmp_path: Path) -> None:
    folder = diffusers_folder(tmp_path / "m", NANO)
    (folder / "vae" / "config.json").write_text('{"z_dim": 12}')
    with pytest.raises(ModelError, match="base_dim"):
        read_dims(folder)
    (folder / "vae" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"vae/config.json"):
        read_dims(folder)


def test_finding_a_model_imports_no_torch(tmp_path: Path) -> None:
    folder = diffusers_folder(tmp_path / "m", NANO)
    code = (
        "import sys; from pathlib import Path; from farm.models import find_model, resolve_model\n"
        "from farm.settings import Settings; import farm.plan\n"
        f"resolve_model({str(folder)!r}, Settings(cache_dir=Path({str(tmp_path)!r})))\n"
        "try: find_model('nano', Settings())\n"
        "except Exception: pass\n"
        "print([name for name in ('torch', 'ray', 'wan_model', 'av', 's3fs') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- fingerprints


def test_the_fingerprint_is_of_all_weights_and_configurations(tmp_path: Path) -> None:
    def of(**changes: bytes) -> str:
        folder = diffusers_folder(tmp_path / f"m{len(list(tmp_path.iterdir()))}", NANO)
        for name, data in changes.items():
            (folder / name.replace("__", "/").replace("_DOT_", ".")).write_bytes(data)
        return fingerprint(folder, cache_dir=tmp_path / "cache")

    plain = of()
    assert of() == plain
    assert of(vae__model_DOT_safetensors=b"more") != plain
    assert of(transformer__model_DOT_safetensors=b"others") != plain
    assert of(model_index_DOT_json=b"{}") != plain
    assert of(README_DOT_md=b"read") == plain


def test_a_folder_without_weights_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no weights"):
        fingerprint(tmp_path, cache_dir=tmp_path)


@pytest.mark.parametrize("is_writable", [True, False])
def test_large_models_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_writable: bool) -> None:
    folder, cache = diffusers_folder(tmp_path / "m", NANO), tmp_path / "cache"
    if not is_writable:  # a folder in its place stops even root from writing the file
        (folder / CACHE_NAME / "x").mkdir(parents=True)
    monkeypatch.setattr(fingerprints, "SMALL_BYTES", 0)
    hashed: list[str] = []
    original = fingerprints._sha256
    monkeypatch.setattr(fingerprints, "_sha256", lambda path: (hashed.append(path.name), original(path))[1])
    first = fingerprint(folder, cache_dir=cache)
    num_files = len(hashed)
    assert fingerprint(folder, cache_dir=cache) == first
    assert len(hashed) == num_files
    assert (folder / CACHE_NAME).is_file() == is_writable
    weights = folder / "transformer" / "model.safetensors"
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(1, 1))
    assert fingerprint(folder, cache_dir=cache) != first
    assert hashed[num_files:] == ["model.safetensors"]


def test_a_small_model_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = diffusers_folder(tmp_path / "m", NANO)
    fingerprint(folder, cache_dir=tmp_path / "cache")
    assert not (folder / CACHE_NAME).exists()
    assert not (tmp_path / "cache").exists()


def test_the_embedded_model_is_what_its_card_says(tmp_path: Path) -> None:
    weights = Path(wan_model.nano.config.__file__).parent / "weights"
    if not weights.exists():
        pytest.skip("this checkout has no embedded weights: jobs/train_nano.py makes them")
    found = resolve_model("nano", Settings(cache_dir=tmp_path / "cache"))
    assert found.card == NANO_CARD
    assert found.path == str(weights)
    assert not (tmp_path / "cache").exists()
