"""The real backend's edges: what travels as text states, which errors it speaks, what it says of its execution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_wan import save_folder, tiny_dit, tiny_vae_2_1

from farm.errors import InputError, ModelError, RenderError
from farm.spec import ClipSpec
from farm.workers.engine import ClipText, ModelPlan, Order, Unwatched, open_backend
from farm.workers.wan import WanBackend
from farm.workers.wan_load import device_kind
from farm.workers.wan_render import WanRenderEngine
from wan_model.errors import NonFiniteError, RequestError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("backend"), transformer=tiny_dit(seed=1), vae=tiny_vae_2_1())


def plan_of(path: Path | str) -> ModelPlan:
    return ModelPlan(name="tiny", path=str(path), fingerprint="f" * 64, dtype="float32", device="cpu", threads=1)


def spec_of(**more: Any) -> ClipSpec:
    values: dict[str, Any] = {
        "prompt": "two cats", "negative_prompt": "", "seed": 1, "width": 32, "height": 16, "render_width": 32,
        "render_height": 16, "num_frames": 5, "fps": 8, "num_inference_steps": 2, "guidance_high": 5.0,
        "guidance_low": 5.0, "shift": 3.0, "solver": "euler", "profile": "official", "model": "f" * 64,
        "dtype": "float32", "codec": "h264",
    }  # fmt: skip
    return ClipSpec(**(values | more))


def test_states_do_not_depend_on_their_neighbours_and_say_when_they_were_cut(folder: Path) -> None:
    backend = open_backend("farm.workers.wan:WanBackend")
    engine = backend.open_text(plan_of(folder))
    alone, beside = engine.encode(["two cats"])[0], engine.encode(["a much longer prompt than that", "two cats"])[1]
    assert alone == beside
    assert backend.warnings_of(alone) == ()
    (long,) = engine.encode(["cat " * 2000])
    assert backend.warnings_of(long) == ("the prompt is longer than 512 tokens and was cut",)
    assert backend.clean_prompt("  two \n cats ") == "two cats"


def test_a_clip_in_steps_and_chunks(folder: Path) -> None:
    backend, steps = WanBackend(), list[tuple[int, int]]()
    text, engine = backend.open_text(plan_of(folder)), backend.open_render(plan_of(folder))
    spec = spec_of()
    states = ClipText(positive=text.encode([spec.prompt])[0], negative=text.encode([""])[0])

    class Listener(Unwatched):
        def stepped(self, done: int, total: int) -> None:
            steps.append((done, total))

    chunks = list(engine.render(Order(spec=spec, text=states), Listener()))
    assert steps == [(1, 2), (2, 2)]
    assert sum(len(chunk) for chunk in chunks) == 5
    assert {chunk.shape[1:] for chunk in chunks} == {(16, 32, 3)}
    execution = engine.execution(spec)
    assert execution.threads == torch.get_num_threads()
    assert execution.device == device_kind("cpu")
    assert execution.encoder["encoder"] == "libx264"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (NonFiniteError("NaN in the latents"), RenderError),
        (torch.OutOfMemoryError("tried to allocate 20 GiB"), RenderError),
        (MemoryError(), RenderError),
        (RequestError(["width is 17: a multiple of 16"]), InputError),
    ],
)
def test_errors_are_the_farms_own(folder: Path, raised: Exception, expected: type[Exception]) -> None:
    text = WanBackend().open_text(plan_of(folder))
    states = ClipText(positive=text.encode(["two cats"])[0], negative=None)

    class Failing:
        def steps(self, *_: Any, **__: Any) -> Callable[[], None]:
            raise raised

    engine = WanRenderEngine(Failing(), plan_of(folder))  # type: ignore[arg-type]
    with pytest.raises(expected):
        list(engine.render(Order(spec=spec_of(), text=states), Unwatched()))


def test_weights_that_do_not_load_are_no_clips_fault(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        WanBackend().open_render(plan_of(tmp_path))


def test_nan_in_the_decoder_is_no_picture(folder: Path) -> None:
    backend = WanBackend()
    text, engine = backend.open_text(plan_of(folder)), backend.open_render(plan_of(folder))
    vae = engine._pipeline.vae
    assert vae is not None
    with torch.no_grad():
        next(vae.decoder.parameters()).fill_(float("nan"))
    states = ClipText(positive=text.encode(["two cats"])[0], negative=text.encode([""])[0])
    with pytest.raises(RenderError, match="decoded frames"):
        list(engine.render(Order(spec=spec_of(), text=states), Unwatched()))
