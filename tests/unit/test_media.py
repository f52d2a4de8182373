"""Videos and pictures: equal frames give equal bytes, lossless is exact, files carry no times, faults surface."""

from __future__ import annotations

import io
import re
import resource
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from farm.errors import InputError, StorageError
from farm.media import (
    EncodedVideo,
    Thumbnailer,
    VideoWriter,
    encoder_settings,
    probe_video,
    read_frames,
    read_image,
)
from farm.media import writer as writer_module
from farm.spec import Codec

Frames = npt.NDArray[np.uint8]
METADATA = {"comment": "AI-generated", "ai_generated": "true"}
CODECS: tuple[Codec, ...] = ("h264", "av1", "lossless")


def noisy_frames(num_frames: int, *, height: int = 64, width: int = 64, seed: int = 0) -> Frames:
    """A moving pattern under noise: what rate control finds hard."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    still = np.kron(blocks, np.ones((8, 8, 1), np.uint8)).astype(np.int16)
    moving = np.stack([np.roll(still, 3 * number, axis=1) for number in range(num_frames)])
    return np.clip(moving + rng.integers(-20, 20, (num_frames, height, width, 1)), 0, 255).astype(np.uint8)


def encode(path: Path, frames: Frames, *, codec: Codec = "h264", chunk: int = 4) -> EncodedVideo:
    _, height, width, _ = frames.shape
    with VideoWriter(path, width=width, height=height, fps=8, codec=codec, metadata=METADATA) as video:
        for start in range(0, len(frames), chunk):
            video.write(frames[start : start + chunk])
        return video.close()


@pytest.mark.parametrize("codec", CODECS)
def test_equal_frames_give_equal_bytes(codec: Codec, tmp_path: Path) -> None:
    frames = noisy_frames(17)
    first = encode(tmp_path / "a.mp4", frames, codec=codec, chunk=4)
    second = encode(tmp_path / "b.mp4", frames, codec=codec, chunk=17)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256
    assert first.size_bytes == first.path.stat().st_size


def test_a_noisy_480p_clip_gives_equal_bytes(tmp_path: Path) -> None:
    """The size and content at which x264 in its default setting differs from run to run on AVX-512 machines."""
    frames = noisy_frames(17, height=480, width=832)
    hashes = {encode(tmp_path / f"{run}.mp4", frames).sha256 for run in range(3)}
    assert len(hashes) == 1


@pytest.mark.parametrize("codec", CODECS)
def test_what_was_written_is_found(codec: Codec, tmp_path: Path) -> None:
    frames = noisy_frames(9, height=48, width=80)
    video = encode(tmp_path / "a.mp4", frames, codec=codec)
    facts = probe_video(video.path)
    assert (facts.width, facts.height, facts.num_frames, facts.fps) == (80, 48, 9, 8.0)
    assert facts.codec == {"h264": "h264", "av1": "av1", "lossless": "h264"}[codec]
    assert facts.metadata["comment"] == "AI-generated"
    assert facts.metadata["ai_generated"] == "true"
    assert probe_video(video.path.read_bytes()) == facts
    assert len(list(read_frames(video.path))) == 9


def test_lossless_is_exact(tmp_path: Path) -> None:
    frames = noisy_frames(5)
    video = encode(tmp_path / "a.mp4", frames, codec="lossless")
    np.testing.assert_array_equal(np.stack(list(read_frames(video.path))), frames)


def test_lossy_colours_are_right(tmp_path: Path) -> None:
    """A wrong matrix or range moves flat colours by ten levels and more; BT.709 rounding moves them by 3."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 64, 32]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (6, 64, 64, 3)).copy()
    video = encode(tmp_path / "a.mp4", frames)
    decoded = np.stack(list(read_frames(video.path))).astype(int)
    assert np.abs(decoded[:, 8:-8, 8:-8] - frames[:, 8:-8, 8:-8]).max() <= 3


@pytest.mark.parametrize("codec", CODECS)
def test_files_say_neither_when_nor_where(codec: Codec, tmp_path: Path) -> None:
    data = encode(tmp_path / "a.mp4", noisy_frames(5), codec=codec).path.read_bytes()
    own = set(METADATA) | {"major_brand", "minor_version", "compatible_brands"}
    assert set(probe_video(data).metadata) <= own | {"encoder"}
    for box in (b"mvhd", b"tkhd", b"mdhd"):
        at = data.index(box) + 4
        assert data[at + 4 : at + 12] == bytes(8), f"{box!r} holds a time"


def test_header_comes_first_for_players_on_the_web(tmp_path: Path) -> None:
    data = encode(tmp_path / "a.mp4", noisy_frames(17)).path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_odd_sides_are_refused_at_once(codec: Codec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="even sides, not 65x64"):
        VideoWriter(tmp_path / "a.mp4", width=65, height=64, fps=8, codec=codec, metadata={})


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    video = VideoWriter(tmp_path / "a.mp4", width=64, height=64, fps=8, metadata={})
    with video, pytest.raises(InputError, match="frames of uint8"):
        video.write(np.zeros((1, 32, 64, 3), np.uint8))
    assert not (tmp_path / "a.mp4").exists()


def test_given_up_video_leaves_no_file_and_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())

    def fail_half_way() -> None:
        with VideoWriter(tmp_path / "a.mp4", width=64, height=64, fps=8, metadata={}) as video:
            video.write(noisy_frames(5))
            raise RuntimeError("the render failed")

    with pytest.raises(RuntimeError, match="the render failed"):
        fail_half_way()
    assert not list(tmp_path.iterdir())
    assert set(threading.enumerate()) <= before


def test_encoder_faults_surface(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*a\.mp4: No such file"):
        encode(tmp_path / "no such folder" / "a.mp4", noisy_frames(100), chunk=1)


def test_writer_waits_for_a_slow_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded: no more than the queue's chunks, one in work and one in hand are ever ahead."""
    encoded: list[int] = []
    frame = writer_module._Converter.frame

    def slow_frame(self: writer_module._Converter, image: Frames) -> object:
        time.sleep(0.01)
        encoded.append(1)
        return frame(self, image)

    monkeypatch.setattr(writer_module._Converter, "frame", slow_frame)
    with VideoWriter(tmp_path / "a.mp4", width=64, height=64, fps=8, metadata={}) as video:
        for number in range(40):
            video.write(noisy_frames(1))
            assert number + 1 - len(encoded) <= writer_module.QUEUE_CHUNKS + 2
        assert video.close().num_frames == 40


def test_settings_for_the_record() -> None:
    settings = encoder_settings("h264")
    assert settings["encoder"] == "libx264"
    assert settings["threads"] == "1"
    if " avx512f " in Path("/proc/cpuinfo").read_text():
        assert settings["x264-params"] == "asm=AVX2"


def test_thumbnails_are_of_the_right_moments_and_repeatable() -> None:
    frames = np.zeros((17, 90, 960, 3), np.uint8)
    frames[:, ..., 0] = np.arange(17)[:, None, None] * 15

    def pictures(chunk: int) -> tuple[bytes, bytes]:
        thumbnailer = Thumbnailer(17)
        for start in range(0, 17, chunk):
            thumbnailer.look(frames[start : start + chunk])
        return thumbnailer.poster(), thumbnailer.strip()

    poster, strip = pictures(4)
    assert (poster, strip) == pictures(17)
    with Image.open(io.BytesIO(poster)) as image:
        assert image.format == "WEBP"
        assert image.size == (480, 45)
        assert abs(image.convert("RGB").getpixel((5, 5))[0] - 8 * 15) <= 4
    with Image.open(io.BytesIO(strip)) as image:
        assert image.size == (8 * 160, 15)
        reds = [image.convert("RGB").getpixel((160 * tile + 80, 7))[0] for tile in range(8)]
    assert np.abs(np.array(reds) - np.array([0, 2, 5, 7, 9, 11, 14, 16]) * 15).max() <= 6


def test_one_frame_clip_has_thumbnails_too() -> None:
    thumbnailer = Thumbnailer(1)
    with pytest.raises(ValueError, match="only 0 frames"):
        thumbnailer.poster()
    thumbnailer.look(noisy_frames(1))
    assert re.match(rb"RIFF....WEBP", thumbnailer.poster(), re.DOTALL)
    assert re.match(rb"RIFF....WEBP", thumbnailer.strip(), re.DOTALL)


def picture(mode: str = "RGB", size: tuple[int, int] = (6, 4), kind: str = "PNG", **options: object) -> bytes:
    sink = io.BytesIO()
    Image.new(mode, size, 0 if mode in ("L", "I;16", "1", "P") else None).save(sink, kind, **options)
    return sink.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_pictures_of_any_mode_become_rgb(mode: str) -> None:
    image = read_image(picture(mode))
    assert image.shape == (4, 6, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_known_formats(kind: str) -> None:
    assert read_image(picture(kind=kind)).shape == (4, 6, 3)


def test_sixteen_bit_grey_keeps_its_range() -> None:
    sink = io.BytesIO()
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(sink, "PNG")
    assert read_image(sink.getvalue())[0, :, 0].tolist() == [0, 128, 255]


def test_pictures_are_turned_upright() -> None:
    sink = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    Image.new("RGB", (6, 4)).save(sink, "JPEG", exif=exif)
    assert read_image(sink.getvalue()).shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a picture"),
        (b"<svg/>", "not a picture"),
        (picture(kind="GIF", mode="L"), "not a picture"),
        (picture(size=(300, 300))[:-40], "cannot be decoded"),
        (picture(size=(8000, 8000), mode="1"), "more than the 50000000 allowed"),
        (b"x" * ((64 << 20) + 1), "bytes, more than"),
    ],
    ids=["empty", "svg", "gif", "truncated", "bomb", "long"],
)
def test_other_data_is_refused(data: bytes, message: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message):
        read_image(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_other_files_are_no_videos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable video"):
        probe_video(b"nothing of the kind")
    with pytest.raises(InputError, match="not a readable video"):
        list(read_frames(tmp_path / "missing.mp4"))
