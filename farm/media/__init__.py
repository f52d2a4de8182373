"""Pictures and videos: read inputs, write clips as they decode, picture them small, look into finished files."""

from __future__ import annotations

from farm.media.codecs import encoder_settings
from farm.media.images import read_image
from farm.media.preview import encode_preview
from farm.media.probe import VideoFacts, probe_video, read_frames
from farm.media.thumbnails import Thumbnailer
from farm.media.writer import EncodedVideo, VideoWriter

__all__ = [
    "EncodedVideo",
    "Thumbnailer",
    "VideoFacts",
    "VideoWriter",
    "encode_preview",
    "encoder_settings",
    "probe_video",
    "read_frames",
    "read_image",
]
