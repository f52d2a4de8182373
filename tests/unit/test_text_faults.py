"""A prompt that the text encoder fails at costs its clip, and nobody else's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from example_renders import SPEC, renderer_of
from scripted_engine import ScriptedEngine

from farm import ledger
from farm.errors import InputError, StorageError, TextError
from farm.metrics import GIVEN_UP_FOR, NoMeter
from farm.storage import MemoryStorage
from farm.workers.encoder import TRIES, PromptEncoder, text_of
from farm.workers.engine import ClipText
from farm.workers.making import ClipJob
from farm.workers.outcomes import text_in, with_text


class Encoder:
    """Fails so many times, in that way."""

    def __init__(self, error: Exception, *, times: int) -> None:
        self.num_asked = 0
        self._error = error
        self._times = times

    def encode(self, prompts: Sequence[str]) -> list[bytes]:
        self.num_asked += 1
        if self.num_asked <= self._times:
            raise self._error
        return [prompt.encode() for prompt in prompts]


def encoder_of(engine: Encoder) -> PromptEncoder:
    storage = MemoryStorage(uuid.uuid4().hex)
    return PromptEncoder(lambda: engine, storage, clean=str, key="k", meter=NoMeter())


def test_a_fault_that_passes_costs_nothing() -> None:
    engine = Encoder(ValueError("once"), times=TRIES - 1)
    assert encoder_of(engine).encode("a red circle") == b"a red circle"
    assert engine.num_asked == TRIES


def test_one_that_stays_is_the_prompts() -> None:
    engine = Encoder(ValueError("always"), times=99)
    with pytest.raises(TextError, match="cannot be encoded: ValueError: always"):
        encoder_of(engine).encode("a red circle")
    assert engine.num_asked == TRIES


@pytest.mark.parametrize("error", [StorageError("read", "x", "away", "wait"), TextError("told by another process")])
def test_what_says_itself_whose_fault_it_is_is_not_tried_again(error: Exception) -> None:
    engine = Encoder(error, times=99)
    with pytest.raises(type(error)):
        encoder_of(engine).encode("a red circle")
    assert engine.num_asked == 1


def test_an_encoder_that_does_not_load_is_nobodys_prompt() -> None:
    def unloadable() -> Encoder:
        raise OSError("no weights")

    encoder = PromptEncoder(unloadable, MemoryStorage(uuid.uuid4().hex), clean=str, key="k", meter=NoMeter())
    with pytest.raises(OSError, match="no weights"):
        encoder.encode("a red circle")


@pytest.mark.parametrize("text", [ClipText(positive=b"p", negative=None), ClipText(positive=b"p", negative=b"n")])
def test_states_travel_in_rows(text: ClipText) -> None:
    row = with_text(pa.table({"spec": ["{}"]}), text)
    assert text_in(row.to_pylist()[0]) == text


def test_faults_travel_in_rows_beside_states() -> None:
    good = with_text(pa.table({"spec": ["a"]}), ClipText(positive=b"p", negative=b"n"))
    bad = with_text(pa.table({"spec": ["b"]}), TextError("always"))
    rows = pa.concat_tables([good, bad]).to_pylist()
    assert isinstance(text_in(rows[0]), ClipText)
    assert str(text_in(rows[1])) == "always"


def test_its_clip_is_given_up_at_once(tmp_path: Path) -> None:
    out, engine = MemoryStorage(uuid.uuid4().hex), ScriptedEngine()
    text = text_of(encoder_of(Encoder(ValueError("always"), times=99)), SPEC)
    job = ClipJob(spec=SPEC, text=text, run_id="run", model_name="fake", model_path="/fake", row=3, id="mine")
    outcome = renderer_of(out, tmp_path, engine).render(job)
    assert (outcome.status, outcome.error_class) == ("failed", "TextError")
    assert engine.begun_at == []
    letter = ledger.read_failure(out, SPEC.clip_id)
    assert letter is not None
    assert (letter.error_class, letter.attempts) == ("TextError", 1)
    assert "ValueError: always" in letter.message
    assert "Encoder" in letter.traceback or "encode" in letter.traceback


def test_both_kinds_that_no_retry_helps_are_counted_from_the_start() -> None:
    assert {InputError.__name__, TextError.__name__} <= set(GIVEN_UP_FOR)
