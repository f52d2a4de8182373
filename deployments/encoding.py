"""Text encoding apart from rendering: replicas on CPUs, asked by renderers and, ahead of time, by the dispatcher.

States lie in the output (`farm.workers.encoder`), so a prompt that was ever met is read by its renderer, not encoded.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.config import AppConfig
from deployments.served import plan_of, served_model
from farm.errors import Interrupted, TextError, TransientError
from farm.settings import Settings
from farm.storage import open_storage
from farm.workers.encoder import PromptEncoder
from farm.workers.engine import WAN_BACKEND, Backend, TextEngine, open_backend
from farm.workers.observing import begin_observed
from farm.workers.ray_metrics import RayMeter

# A prompt takes a second or two of a large encoder; loading its 11 GB takes minutes.
ASK_S = 10.0
PATIENCE_S = 900.0


class TextReplica:
    """Encodes the prompts of one model, one after the other. Its weights load while it already answers."""

    def __init__(self, config: AppConfig, short_name: str) -> None:
        settings = Settings.from_env()
        begin_observed(settings, role="text", model=short_name)
        model = served_model(config, short_name, settings)
        self._plan = plan_of(model, settings, threads=model.config.text_threads, device="cpu")
        self._backend: Backend = open_backend(settings.engine or WAN_BACKEND)
        self._encoder = PromptEncoder(
            lambda: self._engine,
            open_storage(config.out, options=settings.options_for("s3")),
            clean=self._backend.clean_prompt,
            key=self._plan.embedding_key,
            meter=RayMeter(),
        )
        self._thread = ThreadPoolExecutor(1, "encode")
        self._thread.submit(lambda: self._engine)

    @cached_property
    def _engine(self) -> TextEngine:
        return self._backend.open_text(self._plan)

    async def encode(self, prompts: Sequence[str]) -> list[bytes]:
        """States of prompts, as safetensors files."""
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(self._thread, self._encoder.encode, prompt) for prompt in prompts]

    async def prefetch(self, prompts: Sequence[str]) -> None:
        """The same for nobody: they will be asked for soon. Returns when done; whoever asks does not wait."""
        await self.encode(prompts)


class RemoteText:
    """A `TextEngine` whose encoder is another deployment. For threads outside of event loops.

    Args:
        should_stop: asked every few seconds while a prompt waits.
    """

    def __init__(self, text: DeploymentHandle, *, should_stop: Callable[[], bool]) -> None:
        self._text = text
        self._should_stop = should_stop

    def encode(self, prompts: Sequence[str]) -> list[bytes]:
        """As `PromptEncoder.encode`, with TransientError where no encoder answers for a quarter of an hour, and
        Interrupted where this is to stop.
        """
        response = self._text.encode.remote(list(prompts))
        fault: Exception | None = None
        for _ in range(int(PATIENCE_S / ASK_S)):
            if self._should_stop():
                response.cancel()
                raise Interrupted("told to stop while a prompt waited for its encoder")
            try:
                states: list[bytes] = response.result(timeout_s=ASK_S)
            except TimeoutError:
                continue
            except TextError as error:
                raise TextError(str(getattr(error, "cause", error))) from None  # Ray's own has a page of traceback
            except (RayError, RayServeException) as error:  # its replica died, or is being replaced
                fault = error
                threading.Event().wait(1.0)
                response = self._text.encode.remote(list(prompts))
            else:
                return states
        response.cancel()
        raise TransientError(f"no text encoder answered for {PATIENCE_S:.0f} s ({fault or 'not at all'})")
