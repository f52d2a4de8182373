"""Trying again what failed for a passing reason."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often, and with which pauses. Six tries wait about 6 s in all on average, 12 s at most."""

    num_tries: int = 6
    first_pause_s: float = 0.4
    longest_pause_s: float = 8.0

    def pause_s(self, num_failures: int) -> float:
        """The pause after so many failures: doubling, with full jitter so that a herd of writers spreads out."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (num_failures - 1))
        return random.uniform(0.0, longest)


def call_with_retries(
    call: Callable[[], Result], *, is_transient: Callable[[Exception], bool], backoff: Backoff
) -> Result:
    """The call's result; its last error when it is none that passes, or when the tries are used up."""
    num_failures = 0
    while True:
        try:
            return call()
        except Exception as error:
            num_failures += 1
            if num_failures >= backoff.num_tries or not is_transient(error):
                raise
        time.sleep(backoff.pause_s(num_failures))
