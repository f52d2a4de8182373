"""Pictures of requests: uploaded, in the request or fetched; looked at within bounds, then kept by content.

Names under OUT are made of the content's hash and of a format that the decoder found: nothing that a stranger wrote.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from deployments.inputs.fetch import Fetcher
from deployments.inputs.settings import InputSettings
from farm.errors import InputError
from farm.media.bounded import BoundedDecoder, Bounds, Picture
from farm.spec import AssetRef
from farm.storage import Storage

_SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}

# How the formats begin; what begins otherwise need not be looked at.
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPicture:
    """A picture that can be used. `sha256` is its content's."""

    data: bytes
    sha256: str
    picture: Picture

    @property
    def path(self) -> str:
        """Where it is kept below OUT."""
        return f"inputs/{self.sha256}.{_SUFFIXES[self.picture.format]}"


class Pictures:
    """Takes pictures in. Blocking: call it from a thread; `close` ends the decoders."""

    def __init__(self, settings: InputSettings, fetcher: Fetcher) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._decoder = BoundedDecoder(
            Bounds(
                max_pixels=settings.max_pixels,
                memory_bytes=settings.decode_bytes,
                cpu_s=settings.decode_cpu_s,
                wall_s=2.0 * settings.decode_cpu_s,
            ),
            num_processes=settings.num_decoders,
        )

    def fetch(self, uri: str) -> CheckedPicture:
        """The picture at an address. InputError where it cannot be had or used."""
        return self.check(self._fetcher.fetch(uri))

    def check(self, data: bytes) -> CheckedPicture:
        """A picture by its content. InputError where it cannot be used."""
        if not data:
            raise InputError("the picture is empty")
        if len(data) > self._settings.max_bytes:
            raise InputError(f"the picture has {len(data)} bytes, at most {self._settings.max_bytes}")
        if not data.startswith(_BEGINNINGS):
            raise InputError("not a picture of a known format (PNG, JPEG, WEBP)")
        return CheckedPicture(data=data, sha256=hashlib.sha256(data).hexdigest(), picture=self._decoder.look(data))

    def keep(self, out: Storage, checked: CheckedPicture) -> AssetRef:
        """Put it under OUT, where it may lie already."""
        out.create(checked.path, checked.data)
        return AssetRef(uri=out.uri_of(checked.path), sha256=checked.sha256)

    def warm(self) -> None:
        """Have a decoder ready."""
        self._decoder.warm()

    def close(self) -> None:
        self._decoder.close()
