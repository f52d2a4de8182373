"""Pictures and videos: read inputs, write clips as they decode, make their thumbnails, look into finished files."""

from __future__ import annotations

from farm.media.codecs import encoder_settings
from farm.media.images import read_image
from farm.media.probe import VideoFacts, probe_video, read_frames
from farm.media.thumbnails import Thumbnailer
from farm.media.writer import EncodedVideo, VideoWriter

__all__ = [
    "EncodedVideo",
    "Thumbnailer",
    "VideoFacts",
    "VideoWriter",
    "encoder_settings",
    "probe_video",
    "read_frames",
    "read_image",
]
