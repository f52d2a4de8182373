"""Who hears how a renderer's clips come on: an online queue, say, whose clients wait."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from farm.logs import fields
from farm.workers.making import ClipJob

_LOG = logging.getLogger(__name__)


class Listener(Protocol):
    """Called from the thread that renders, which waits: what takes long belongs on another.

    It cannot harm a clip. Once it has raised it hears no more of that try at the clip.
    """

    def began(self, job: ClipJob, step: int) -> None:
        """A try at the clip goes on from so many done steps; also after a fault of the gang."""

    def stepped(self, job: ClipJob, done: int, total: int) -> None:
        """After every denoising step; after the last one the clip is decoded."""

    def previewed(self, job: ClipJob, step: int, image: bytes) -> None:
        """What the clip will look like, as far as can be told after so many steps, WebP."""


class Nobody:
    """Hears nothing."""

    def began(self, job: ClipJob, step: int) -> None:
        pass

    def stepped(self, job: ClipJob, done: int, total: int) -> None:
        pass

    def previewed(self, job: ClipJob, step: int, image: bytes) -> None:
        pass


class Teller:
    """Tells a listener of one try at a clip, until it raises."""

    def __init__(self, listener: Listener, job: ClipJob) -> None:
        self._listener = listener
        self._job = job
        self._is_silent = False

    def began(self, step: int) -> None:
        self._tell(lambda: self._listener.began(self._job, step))

    def stepped(self, done: int, total: int) -> None:
        self._tell(lambda: self._listener.stepped(self._job, done, total))

    def previewed(self, step: int, image: bytes) -> None:
        self._tell(lambda: self._listener.previewed(self._job, step, image))

    def _tell(self, call: Callable[[], None]) -> None:
        if self._is_silent:
            return
        try:
            call()
        except Exception:  # the boundary: a clip is worth more than its audience
            self._is_silent = True
            _LOG.exception("listener fails and hears no more", extra=fields(clip_id=self._job.spec.clip_id))
