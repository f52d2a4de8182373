"""A clip's name is a hash of what was asked, and of nothing else; rows are refused with every fault, never rounded."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from pydantic import ValidationError

import farm
from farm.models import CARDS, NANO_CARD, ModelRef
from farm.normalise import faults_of, normalise, warnings_of
from farm.request import RowRequest, derive_seed, parse_row
from farm.spec import AssetRef, ClipSpec, RenderOptions

SHA = "0123456789abcdef" * 4


def ref(name: str = "nano", fingerprint: str = "f" * 64) -> ModelRef:
    return ModelRef(name=name, path="/models/" + name, card=CARDS[name], fingerprint=fingerprint)


def spec_of(model: str = "nano", **fields: object) -> ClipSpec:
    request, faults = parse_row({"prompt": "a red circle", **fields})
    assert faults == []
    assert faults_of(request, CARDS[model]) == []
    return normalise(request, ref(model), options=RenderOptions(), seed=7)


def faults(model: str = "nano", **fields: object) -> list[str]:
    request, found = parse_row({"prompt": "a red circle", **fields})
    return found + faults_of(request, CARDS[model])


def test_absent_fields_get_the_cards_defaults() -> None:
    spec = spec_of()
    assert (spec.width, spec.height, spec.num_frames, spec.fps) == (64, 64, 17, 8)
    assert spec.num_inference_steps == NANO_CARD.defaults.num_inference_steps
    assert (spec.seed, spec.dtype, spec.codec, spec.profile) == (7, "float32", "h264", "official")


def test_canonical_json_is_stable_and_reads_back() -> None:
    spec = spec_of(prompt="ein Kreis, 红色", seed=5)
    text = spec.canonical_json()
    assert ClipSpec.from_json(text) == spec
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "image" not in json.loads(text)


def test_the_clip_id_is_frozen() -> None:
    """Changing this value orphans every clip that users have rendered: raise RENDER_VERSION only if pixels change."""
    spec = ClipSpec(
        prompt="p", negative_prompt="", seed=1, width=64, height=64, render_width=64, render_height=64, num_frames=17,
        fps=8, num_inference_steps=20, guidance_high=3.0, guidance_low=3.0, shift=3.0, solver="unipc",
        profile="official", model="m", dtype="float32", codec="h264",
    )  # fmt: skip
    assert spec.clip_id == "fcb85d33d9eb444c427849d8a7dab884"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "other"}, {"negative_prompt": "bad"}, {"seed": 8}, {"width": 80}, {"num_frames": 5}, {"fps": 9},
        {"num_inference_steps": 21}, {"guidance_scale": 9.5}, {"shift": 9.5}, {"solver": "euler"},
    ],
)  # fmt: skip
def test_what_is_asked_changes_the_clip_id(change: dict[str, object]) -> None:
    assert spec_of(**change).clip_id != spec_of().clip_id


def test_flags_and_weights_change_the_clip_id() -> None:
    request, _ = parse_row({"prompt": "x", "seed": 1})
    ids = [
        normalise(request, model, options=options, seed=0).clip_id
        for model, options in [
            (ref(), RenderOptions()),
            (ref(), RenderOptions(profile="diffusers")),
            (ref(), RenderOptions(codec="lossless")),
            (ref(), RenderOptions(dtype="bfloat16")),
            (ref(fingerprint="e" * 64), RenderOptions()),
        ]
    ]
    assert len(set(ids)) == 5


def test_tags_priority_id_and_the_images_place_do_not_change_the_clip_id() -> None:
    plain = spec_of(seed=1)
    assert spec_of(seed=1, tags={"a": "b"}, priority=3, id="x").clip_id == plain.clip_id
    here = plain.model_copy(update={"image": AssetRef(uri="/a.png", sha256=SHA)})
    there = plain.model_copy(update={"image": AssetRef(uri="s3://b/c.png", sha256=SHA)})
    assert here.clip_id == there.clip_id != plain.clip_id
    assert here.canonical_json() != there.canonical_json()


def test_defaults_written_out_are_the_same_clip() -> None:
    default = NANO_CARD.defaults
    written = spec_of(seed=7, width=64.0, guidance_scale=int(default.guidance_high), solver=default.solver)
    assert written.clip_id == spec_of().clip_id


def test_the_public_name_is_there_and_costs_nothing_until_used() -> None:
    code = "import sys, farm.errors; early = 'pydantic' in sys.modules; print(early, farm.ClipSpec.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "farm.spec"]
    with pytest.raises(AttributeError, match="no attribute 'Clip'"):
        _ = farm.Clip


def test_specs_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        spec_of().seed = 3  # type: ignore[misc]
    for change in ({"colour": 1}, {"seed": -1}, {"shift": math.nan}, {"width": "64"}, {"solver": "heun"}):
        with pytest.raises(ValidationError):
            ClipSpec.model_validate({**spec_of().model_dump(), **change})


def test_repeated_rows_are_variations_and_reruns_are_not() -> None:
    row = RowRequest(prompt="x")
    seeds = [derive_seed(0, row.identity(), occurrence=n) for n in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [derive_seed(0, RowRequest(prompt="x").identity(), occurrence=n) for n in range(100)]
    assert derive_seed(1, row.identity(), occurrence=0) != seeds[0]
    assert RowRequest(prompt="x", tags={"a": "b"}, priority=1).identity() == row.identity()
    assert RowRequest(prompt="x", id="y").identity() != row.identity()


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"prompt": None}, "prompt: missing"),
        ({"prompt": " "}, "prompt: missing (it is empty)"),
        ({"prompt": 5}, "prompt: expected text, not 5"),
        ({"prompt": "ä" * 50_000}, "prompt: 100000 bytes, at most 8192"),
        ({"negative_prompt": "x" * 8193}, "negative_prompt: 8193 bytes, at most 8192"),
        ({"width": 50}, "width: 50 is not a positive multiple of 16 (nearest: 48 or 64)"),
        ({"width": 500}, "width: 500 is not a positive multiple of 16 (nearest: 96)"),
        ({"height": 0}, "height: 0 is not a positive multiple of 16 (nearest: 16)"),
        ({"height": -16}, "height: -16 is not a positive multiple of 16 (nearest: 16)"),
        ({"width": 512, "height": 256},
         "width, height: 512x256 is more than nano makes, 96x64 (nearest: 96x48)"),
        ({"width": 80, "height": 80},
         "width, height: 80x80 is more than nano makes, 96x64 (nearest: 64x64)"),
        ({"num_frames": 18}, "num_frames: 18 is not 4n+1 (nearest: 17 or 21)"),
        ({"num_frames": 0}, "num_frames: 0 is not 4n+1 (nearest: 1)"),
        ({"num_frames": 24}, "num_frames: 24 is not 4n+1 (nearest: 21 or 25)"),
        ({"num_frames": 27}, "num_frames: 27 is not 4n+1 (nearest: 25)"),
        ({"num_frames": 29}, "num_frames: 29 is more than nano makes, 25 (3 s at 8 fps)"),
        ({"num_frames": 17.5}, "num_frames: 17.5 is not a whole number"),
        ({"num_frames": math.nan}, "num_frames: nan is not a whole number"),
        ({"num_frames": math.inf}, "num_frames: inf is not a whole number"),
        ({"num_inference_steps": -4}, "num_inference_steps: -4 is not between 1 and 1000"),
        ({"num_inference_steps": True}, "num_inference_steps: expected a whole number, not True"),
        ({"fps": 0}, "fps: 0 is not between 1 and 120"),
        ({"seed": -1}, "seed: -1 is not between 0 and 9223372036854775807"),
        ({"seed": 2**70}, f"seed: {2**70} is out of range"),
        ({"seed": "5"}, "seed: expected a whole number, not '5'"),
        ({"guidance_scale": math.nan}, "guidance_scale: nan is not a finite number"),
        ({"guidance_scale": -math.inf}, "guidance_scale: -inf is not a finite number"),
        ({"guidance_scale": -1}, "guidance_scale: -1 is not between 0 and 100"),
        ({"guidance_scale": 3, "guidance_high": 3},
         "guidance_scale: stands for guidance_high and guidance_low, so give it or them"),
        ({"guidance_high": 3, "guidance_low": 4},
         "guidance_low: nano has one expert, so it must equal guidance_high (or give guidance_scale)"),
        ({"shift": 0}, "shift: 0 is not above 0 and at most 100"),
        ({"solver": "heun"}, "solver: 'heun' is none of unipc, euler"),
        ({"id": ""}, "id: must be 1 to 256 printable characters"),
        ({"id": "a\nb"}, "id: must be 1 to 256 printable characters"),
        ({"tags": ["a"]}, "tags: expected a map, not ['a']"),
        ({"tags": {"a": 1}}, "tags.a: expected text, not 1"),
        ({"adapters": "x"}, "adapters: expected a list, not 'x'"),
        ({"hieght": 64}, "hieght: unknown (did you mean height?)"),
        ({"last_image": "a.png"},
         "last_image: nano has no first-and-last-frame-to-video (it has text-to-video, image-to-video)"),
        ({"video": "a.mp4"}, "video: nano has no video-to-video (it has text-to-video, image-to-video)"),
        ({"strength": 0.5}, "strength: nano has no video-to-video (it has text-to-video, image-to-video)"),
        ({"control": "a.mp4"}, "control: nano has no control (it has text-to-video, image-to-video)"),
        ({"control_kind": "pose"}, "control_kind: nano has no control (it has text-to-video, image-to-video)"),
        ({"adapters": []}, "adapters: nano has no adapters (it has text-to-video, image-to-video)"),
    ],
)  # fmt: skip
def test_each_fault_says_what_is_wrong_and_what_would_be_right(fields: dict[str, object], fault: str) -> None:
    assert faults(**fields) == [fault]


def test_all_faults_of_a_row_are_named() -> None:
    found = faults(prompt=None, width=500, num_frames=18, guidance_scale=math.nan, colour="red", seed="x")
    assert sorted(fault.split(":")[0] for fault in found) == [
        "colour", "guidance_scale", "num_frames", "prompt", "seed", "width",
    ]  # fmt: skip


def test_what_is_at_the_limit_is_made_lying_and_standing() -> None:
    assert faults(width=96, height=64, num_frames=25) == faults(width=64, height=96, num_frames=25) == []


def test_a_named_size_is_rendered_larger_and_cropped() -> None:
    for (width, height), rendered in {(1920, 1080): (1920, 1088), (1080, 1920): (1088, 1920)}.items():
        spec = spec_of("wan3.0-14b", width=width, height=height)
        assert (spec.width, spec.height, spec.render_width, spec.render_height) == (width, height, *rendered)
    small = spec_of("wan2.2-ti2v-5b", width=1280, height=720)
    assert (small.render_width, small.render_height) == (1280, 736)
    assert faults("wan2.6-14b", width=1920, height=1080) != []


def test_lengths_count_at_the_cards_fps() -> None:
    """At another playback rate the model still makes the same number of frames."""
    assert faults("wan2.6-14b", num_frames=129, fps=8) == []
    assert faults("wan2.6-14b", num_frames=133, fps=60) != []
    assert faults("wan3.0-14b", num_frames=161) == []


def test_two_experts_have_two_guidances() -> None:
    def pair(**fields: object) -> tuple[float, float]:
        spec = spec_of("wan2.2-t2v-a14b", **fields)
        return spec.guidance_high, spec.guidance_low

    assert pair() == (4.0, 3.0)
    assert pair(guidance_scale=5) == (5.0, 5.0)
    assert pair(guidance_low=2) == (4.0, 2.0)


@pytest.mark.parametrize("model", [name for name, card in CARDS.items() if card.unsupported is None])
def test_no_card_warns_of_its_own_defaults(model: str) -> None:
    assert warnings_of(spec_of(model), CARDS[model]) == []


def test_advice_comes_as_warnings() -> None:
    found = warnings_of(
        spec_of("wan2.6-14b", guidance_scale=4, num_inference_steps=19, num_frames=85), CARDS["wan2.6-14b"]
    )
    assert found == [
        "guidance below 5: pictures tend to be blurry",
        "fewer than 20 steps: details are missing",
        "longer than 5 s: motion gets unstable",
    ]
    unguided = spec_of("wan2.6-14b", guidance_scale=1)
    assert not unguided.is_guided
    assert len(warnings_of(unguided, CARDS["wan2.6-14b"])) == 1
    assert warnings_of(spec_of("wan2.6-14b", guidance_scale=13), CARDS["wan2.6-14b"]) != []
