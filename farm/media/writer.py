"""Write a clip while it decodes: frames are handed over, another thread encodes them into a local file."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from farm.errors import InputError
from farm.local_disk import local_disk
from farm.media.codecs import CodecPlan, check_size, codec_plan
from farm.spec import Codec

Frames = npt.NDArray[np.uint8]

# Chunks that wait for the encoder. A decoder's chunk is some 4 frames: at 832x480 these are 20 MB.
QUEUE_CHUNKS = 4

# BT.709, limited range: what players assume of an untagged file differs with its size, so it is tagged.
_BT709 = 1
_LIMITED = 1

# Plain C conversions: those for a certain CPU round otherwise, and the bytes should not depend on it.
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedVideo:
    """A finished local file, hashed. Sizes in pixels and bytes."""

    path: Path
    sha256: str
    size_bytes: int
    num_frames: int
    width: int
    height: int
    fps: int
    codec: Codec


class VideoWriter:
    """An mp4 file in the making.

    `write` hands frames over and waits only when the encoder is several chunks behind; `close` waits for it and
    returns what was written. As a context manager it removes the file unless `close` was reached.
    Faults of the encoder are raised by the next `write` or by `close`: those of the disk as StorageError.
    """

    def __init__(
        self, path: Path, *, width: int, height: int, fps: int, codec: Codec = "h264", metadata: Mapping[str, str]
    ) -> None:
        check_size(codec, width=width, height=height)
        self._path, self._codec = path, codec
        self._width, self._height, self._fps = width, height, fps
        self._metadata = dict(metadata)
        self._num_frames = 0
        self._is_closed = False
        self._error: BaseException | None = None
        self._chunks: queue.Queue[Frames | None] = queue.Queue(QUEUE_CHUNKS)
        self._is_given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"encode-{path.name}", daemon=True)
        self._thread.start()

    def write(self, frames_FHWC: Frames) -> None:
        """Append frames, uint8 RGB (F, H, W, 3). They are encoded later: don't change them afterwards.

        Raises InputError for frames of another size.
        """
        expected = (self._height, self._width, 3)
        if frames_FHWC.dtype != np.uint8 or frames_FHWC.shape[1:] != expected:
            raise InputError(f"frames of {frames_FHWC.dtype} {frames_FHWC.shape}, not of uint8 (F, {expected})")
        self._put(frames_FHWC)
        self._num_frames += len(frames_FHWC)

    def close(self) -> EncodedVideo:
        """Finish the file and say what is in it."""
        self._put(None)
        self._thread.join()
        self._raise_fault()
        self._is_closed = True
        with local_disk("read", self._path):
            sha256, size_bytes = sha256_of(self._path), self._path.stat().st_size
        return EncodedVideo(
            path=self._path,
            sha256=sha256,
            size_bytes=size_bytes,
            num_frames=self._num_frames,
            width=self._width,
            height=self._height,
            fps=self._fps,
            codec=self._codec,
        )

    def abort(self) -> None:
        """Stop encoding and remove the file; harmless after `close`."""
        if self._is_closed:
            return
        self._is_given_up.set()
        self._thread.join()
        self._is_closed = True
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _put(self, chunk: Frames | None) -> None:
        if self._is_closed:
            raise ValueError("the video is closed")
        while True:
            self._raise_fault()
            try:
                self._chunks.put(chunk, timeout=0.2)
            except queue.Full:
                continue
            return

    def _raise_fault(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with local_disk("write", self._path):
                self._encode()
        except BaseException as error:  # the boundary of this thread: raised again by whoever writes or closes
            self._error = error

    def _encode(self) -> None:
        plan = codec_plan(self._codec)
        options = {"movflags": "+faststart+use_metadata_tags"}
        with av.open(str(self._path), "w", format="mp4", options=options) as container:
            container.metadata.update(self._metadata)
            stream = self._add_stream(container, plan)
            converter = _Converter(plan)
            while (chunk := self._next_chunk()) is not None:
                for image in chunk:
                    container.mux(stream.encode(converter.frame(image)))
            container.mux(stream.encode(None))

    def _add_stream(self, container: Any, plan: CodecPlan) -> Any:
        # SVT-AV1 tells stderr its life story for each clip unless its own variable says "errors only".
        os.environ.setdefault("SVT_LOG", "1")
        stream = container.add_stream(plan.encoder, rate=self._fps, options=dict(plan.options))
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, plan.pixel_format
        stream.codec_context.thread_count = 1
        if plan.is_subsampled:
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED
        return stream

    def _next_chunk(self) -> Frames | None:
        while not self._is_given_up.is_set():
            try:
                return self._chunks.get(timeout=0.2)
            except queue.Empty:
                continue
        return None


class _Converter:
    """Turns RGB arrays into numbered frames of a codec's pixel format."""

    def __init__(self, plan: CodecPlan) -> None:
        self._plan = plan
        self._reformatter = VideoReformatter()
        self._num_frames = 0

    def frame(self, image_HWC: Frames) -> Any:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24")
        if self._plan.is_subsampled:
            frame = self._reformatter.reformat(
                frame,
                format=self._plan.pixel_format,
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                interpolation=_EXACT,
                threads=1,
            )
        frame.pts = self._num_frames
        self._num_frames += 1
        return frame


def sha256_of(path: Path) -> str:
    """Hash of a local file, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
