"""Bodies become values, and values what was asked for: forms as the OpenAI client writes them, and JSON."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.api.asked import frames_of, read_asked
from deployments.api.bodies import Body, fingerprint, parse_json
from deployments.api.fields import FIELDS
from deployments.api.forms import Part, nested, parse_multipart
from deployments.api.schema import VideoCreate
from deployments.errors import ServiceError, UnreadableError
from farm.models import CARDS, NANO_CARD


def form(*pairs: tuple[str, str]) -> dict[str, Any]:
    return nested([Part(name=name, data=value.encode()) for name, value in pairs])


def asked(values: dict[str, Any], *, is_form: bool = False) -> Any:
    return read_asked(Body(values=values, is_form=is_form))


def test_brackets_make_maps_and_lists() -> None:
    values = form(
        ("prompt", "a"), ("tags[scene]", "7"), ("tags[take]", "2"), ("input_reference[image_url]", "https://x/y.png"),
        ("adapters[][name]", "ink"), ("adapters[][name]", "oil"),
        ("adapters[][scale]", "0.5"), ("adapters[][scale]", "1"),
    )  # fmt: skip
    assert values == {
        "prompt": "a",
        "tags": {"scene": "7", "take": "2"},
        "input_reference": {"image_url": "https://x/y.png"},
        "adapters": [{"name": "ink", "scale": "0.5"}, {"name": "oil", "scale": "1"}],
    }


@pytest.mark.parametrize(
    "pairs",
    [
        [("prompt", "a"), ("prompt", "b")],
        [("tags[a]", "1"), ("tags[a]", "2")],
        [("tags", "{}"), ("tags[a]", "1")],
        [("adapters[][scale]", "1"), ("adapters[a]", "1")],
        [("tags[a", "1")],
        [("[a]", "1")],
        [("a[b][c][d][e]", "1")],
        [("a]", "1")],
    ],
)
def test_forms_that_say_two_things_are_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(UnreadableError):
        form(*pairs)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x\r\n",
        b"nothing of the kind",
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na',  # breaks off
        b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",  # no name
        b'--x\r\nContent-Disposition: form-data; name="' + b"n" * 300 + b'"\r\n\r\na\r\n--x--\r\n',
        b"--x\r\nX-Long: " + b"n" * 9000 + b"\r\n\r\na\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="p"\r\n\r\na\r\n' * 300 + b"--x--\r\n",
    ],
)
def test_broken_forms_are_refused(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        nested(parse_multipart(body, "multipart/form-data; boundary=x"))


def test_a_form_of_other_text_than_utf_8_is_refused() -> None:
    with pytest.raises(UnreadableError, match="UTF-8"):
        nested([Part(name="prompt", data=b"\xff\xfe")])


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"1", b"{", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1, "a": 2}', b'{"a": "\xff"}',
        b'{"a": ' + b"1" * 5000 + b"}", b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"a":' + b"[" * 100_000,
        b'{"a": [[[[[[[[[1]]]]]]]]]}', b'{"a": [' + b"1," * 20_000 + b"1]}",
    ],
)  # fmt: skip
def test_json_that_is_none_or_too_much_is_refused(text: bytes) -> None:
    with pytest.raises(ServiceError):
        parse_json(text)


def test_a_forms_text_is_read_as_what_its_field_is() -> None:
    found = asked(
        form(
            ("prompt", "7"), ("seed", "7"), ("guidance_scale", "2.5"), ("seconds", "2"), ("size", "64x32"),
            ("num_inference_steps", ""), ("tags", '{"a": "1"}'), ("is_pinned", "true"), ("negative_prompt", ""),
            ("ttl", "600"),
        ),
        is_form=True,
    )  # fmt: skip
    assert not found.faults
    row = found.row
    assert (row.prompt, row.seed, row.guidance_scale, row.width, row.height) == ("7", 7, 2.5, 64, 32)
    assert (row.num_inference_steps, row.tags, row.negative_prompt) == (None, {"a": "1"}, "")
    assert (found.seconds, found.size, found.is_pinned, found.ttl_s) == (2.0, "64x32", True, 600)


def test_all_faults_of_a_request_are_named_at_once_by_the_clients_names() -> None:
    found = asked(
        {
            "prompt": " ", "size": "65x64", "seconds": "40", "steps": 3, "seed": -1, "fps": "8", "priority": 1000,
            "adapters": [{"name": "ink"}], "control": "https://x/y.mp4", "video": "x", "is_pinned": "maybe", "ttl": 1,
            "tags": {"a": 1},
        }
    )  # fmt: skip
    _, measured = found.measured(NANO_CARD)
    faults = {(fault.field, fault.code) for fault in (*found.faults, *measured)}
    invalid = ["prompt", "size", "seconds", "seed", "fps", "priority", "is_pinned", "ttl", "tags.a"]
    unsupported = ["adapters", "control", "video"]
    assert faults == {
        ("steps", "unknown_field"),
        *((field, "invalid_value") for field in invalid),
        *((field, "unsupported_by_model") for field in unsupported),
    }


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "half \ud800 a pair"},
        {"prompt": "a\x00b"},
        {"prompt": "a", "tags": {"\udfff": "1"}},
        {"prompt": "a", "negative_prompt": "\x1b[31m"},
        {"prompt": "a", "model": "\ud83d"},
        {"prompt": "a", "\ud800": 1},
    ],
)
def test_text_that_cannot_be_written_down_is_a_fault(values: dict[str, Any]) -> None:
    found = asked(values)
    assert found.faults
    for fault in found.faults:
        f"{fault.field} {fault.message} {fault.advice}".encode()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"size": "64x64", "width": 64}, "size"),
        ({"seconds": 2, "num_frames": 17}, "seconds"),
        ({"image": "https://x/y.png", "input_reference": "https://x/y.png"}, "image"),
        ({"input_reference": {"file_id": "file-1"}}, "input_reference"),
        ({"input_reference": 5}, "input_reference"),
        ({"image": {"image_url": "https://x/y.png"}}, "image"),
        ({"size": "64 x 64"}, "size"),
        ({"size": 64}, "size"),
        ({"seconds": "0"}, "seconds"),
        ({"seconds": "1e400"}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seed": 2**70}, "seed"),
        ({"seed": "7"}, "seed"),
        ({"tags": {str(number): "" for number in range(40)}}, "tags"),
        ({"prompt": ["a"]}, "prompt"),
    ],
)
def test_one_thing_wrong_is_one_fault(values: dict[str, Any], field: str) -> None:
    found = asked({"prompt": "a", **values})
    _, measured = found.measured(NANO_CARD)
    assert [fault.field for fault in (*found.faults, *measured)] == [field]


@pytest.mark.parametrize(
    ("seconds", "fps", "step", "num_frames"),
    [(4, 16, 4, 65), (5, 16, 4, 81), (2, 8, 4, 17), (0.1, 8, 4, 1), (3, 24, 8, 73)],
)
def test_seconds_are_the_nearest_number_of_frames(seconds: float, fps: int, step: int, num_frames: int) -> None:
    assert frames_of(seconds, fps=fps, step=step) == num_frames


def test_seconds_count_by_the_requests_own_fps() -> None:
    row, _ = asked({"prompt": "a", "seconds": "2", "fps": 4}).measured(NANO_CARD)
    assert row.num_frames == 9
    row, _ = asked({"prompt": "a", "seconds": 5}).measured(CARDS["wan2.1-t2v-1.3b"])
    assert row.num_frames == 81


def test_the_document_names_the_fields_that_are_read() -> None:
    assert set(VideoCreate.model_fields) == set(FIELDS)


def test_a_fingerprint_is_of_all_that_is_asked() -> None:
    def of(**values: Any) -> bytes:
        return fingerprint(Body(values=values, is_form=True), "create")

    picture, other = Part(name="image", data=b"1", filename="a.png"), Part(name="image", data=b"2", filename="a.png")
    assert of(prompt="a", image=picture) == of(image=Part(name="image", data=b"1", filename="b.png"), prompt="a")
    assert len({of(prompt="a"), of(prompt="b"), of(prompt="a", image=picture), of(prompt="a", image=other)}) == 4
    assert fingerprint(Body(values={}, is_form=True), "a") != fingerprint(Body(values={}, is_form=True), "b")
