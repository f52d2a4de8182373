"""Previews of a clip in work, made in the engine between two steps. None of them is worth the clip."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from farm.logs import fields
from farm.media import encode_preview
from farm.workers.engine import Frames, Order, Watch

_LOG = logging.getLogger(__name__)


class Previewer:
    """Shows one clip to its watch: after its first step, every `preview_every_s` from then on, and after its last.

    Args:
        fps: of the frames that are drawn.
    """

    def __init__(self, order: Order, watch: Watch, *, fps: float) -> None:
        self._every_s = order.preview_every_s
        self._clip_id = order.spec.clip_id
        self._last_step = order.spec.num_inference_steps
        self._watch = watch
        self._fps = fps
        self._shown_s = float("-inf")

    def offer(self, step: int, draw: Callable[[], Frames]) -> None:
        """Where a preview is due have frames (F, H, W, 3) drawn and shown. The first fault ends the clip's previews."""
        if not self._is_due(step):
            return
        try:
            self._watch.preview(step, encode_preview(draw(), fps=self._fps))
        except Exception:  # the boundary: whatever it is, it says nothing about the clip
            self._every_s = None
            _LOG.exception("no more previews of a clip", extra=fields(clip_id=self._clip_id))
        self._shown_s = time.monotonic()

    def _is_due(self, step: int) -> bool:
        if self._every_s is None:
            return False
        return step == self._last_step or time.monotonic() - self._shown_s >= self._every_s
