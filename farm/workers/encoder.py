"""Prompts to text states, each distinct prompt once: in memory, then in OUT/embeddings, then by the encoder.

An 11 GB encoder is loaded only when a prompt is met that the output has never seen.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from farm.errors import AlreadyExistsError, FarmError, NotFoundError, TextError
from farm.logs import fields
from farm.metrics import EMBEDDING_CACHE, STAGE_SECONDS, Meter
from farm.spec import ClipSpec
from farm.storage.base import Storage
from farm.workers.engine import ClipText, TextEngine

# States of a full prompt of the large encoder are 4 MiB: so many bytes hold the prompts of the blocks in work.
MEMORY_BYTES = 256 * 2**20
# Before a prompt is given up.
TRIES = 3

_LOG = logging.getLogger(__name__)


class PromptStates(Protocol):
    """As `PromptEncoder`."""

    def encode(self, prompt: str) -> bytes: ...


class PromptEncoder:
    """Not safe for several threads at once.

    Args:
        open_engine: loads the encoder; called at the first prompt that lies in no cache.
        clean: brings a prompt into the form that the encoder reads.
        key: what decides states besides the prompt: fingerprint of the encoder's weights, dtype.
    """

    def __init__(
        self,
        open_engine: Callable[[], TextEngine],
        storage: Storage,
        *,
        clean: Callable[[str], str],
        key: str,
        meter: Meter,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._open_engine = open_engine
        self._engine: TextEngine | None = None
        self._storage = storage
        self._clean = clean
        self._key = key
        self._meter = meter
        self._states: OrderedDict[str, bytes] = OrderedDict()
        self._free_bytes = memory_bytes
        for result in ("memory", "storage", "encoded"):
            meter.begin(EMBEDDING_CACHE, result=result)

    def encode(self, prompt: str) -> bytes:
        """The states of one prompt, as safetensors bytes.

        TextError where the encoder, once loaded, fails at it every time; what keeps it from loading is raised as it is.
        """
        cleaned = self._clean(prompt)
        path = embedding_path(cleaned, key=self._key)
        if (known := self._states.get(path)) is not None:
            self._states.move_to_end(path)
            return self._counted(known, "memory")
        with suppress(NotFoundError):
            return self._counted(self._remember(path, self._storage.read(path)), "storage")
        states = self._encode_anew([cleaned])[0]
        # Whoever encoded it first stands: all clips of a prompt are made from the same bytes.
        try:
            self._storage.create(path, states)
        except AlreadyExistsError:
            states = self._storage.read(path)
        return self._counted(self._remember(path, states), "encoded")

    def _encode_anew(self, prompts: Sequence[str]) -> list[bytes]:
        if self._engine is None:
            self._engine = self._open_engine()
        begun_s = time.monotonic()
        states = _tried(self._engine, prompts)
        self._meter.record(STAGE_SECONDS, time.monotonic() - begun_s, stage="text")
        return states

    def _remember(self, path: str, states: bytes) -> bytes:
        self._states[path] = states
        self._free_bytes -= len(states)
        while self._free_bytes < 0 and len(self._states) > 1:
            _, oldest = self._states.popitem(last=False)
            self._free_bytes += len(oldest)
        return states

    def _counted(self, states: bytes, result: str) -> bytes:
        self._meter.record(EMBEDDING_CACHE, result=result)
        return states


def text_of(encoder: PromptStates, spec: ClipSpec) -> ClipText | TextError:
    """The states of a clip's prompts, or why it cannot have them: its renderer gives it up then."""
    try:
        positive = encoder.encode(spec.prompt)
        return ClipText(positive=positive, negative=encoder.encode(spec.negative_prompt) if spec.is_guided else None)
    except TextError as error:
        return error


def _tried(engine: TextEngine, prompts: Sequence[str]) -> list[bytes]:
    for number in range(1, TRIES + 1):
        try:
            return engine.encode(prompts)
        except FarmError:
            raise
        except Exception as error:  # the boundary: what nobody expected is the prompt's fault, once it repeats
            _LOG.warning("prompt not encoded", extra=fields(attempt=number, error_class=type(error).__name__))
            fault = error
    raise TextError(f"the prompt cannot be encoded: {type(fault).__name__}: {fault}") from fault


def embedding_path(cleaned: str, *, key: str) -> str:
    """Where a cleaned prompt's states lie below OUT."""
    digest = hashlib.sha256(f"{key}\n{cleaned}".encode()).hexdigest()
    return f"embeddings/{digest[:32]}.safetensors"
