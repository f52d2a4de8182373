"""Jobs to test with, and storages that count, stop or die at a chosen request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from example_clips import make_spec

from farm.queue.job import Job
from farm.queue.store import JobStore
from farm.storage import MemoryStorage, Storage

WRITES = ("create", "replace", "put_file", "delete")


class Killed(BaseException):
    """The process would be dead here."""


def make_job(store: JobStore, *, project: str = "ann", seed: int = 0, **changes: Any) -> Job:
    """A job that is to be submitted now."""
    values = {"id": store.new_id(project), "project": project, "created_at": store.now(), "spec": make_spec(seed=seed)}
    return Job.model_validate({**values, "model": "nano", **changes})


@contextmanager
def killed_at(storage: Storage, number: int, *, after: bool = False) -> Iterator[None]:
    """Die at the write of that number (from 1), before it or after; nothing can be written from then on."""
    names = [name for name in WRITES if hasattr(storage, name)]
    originals = {name: getattr(storage, name) for name in names}
    count = iter(range(1, 10**6))

    def dying(name: str) -> Any:
        def write(*arguments: Any) -> Any:
            now = next(count)
            if now < number or (now == number and after):
                originals[name](*arguments)
            if now >= number:
                raise Killed
            return None

        return write

    for name in names:
        setattr(storage, name, dying(name))
    try:
        yield
    finally:
        for name in names:
            delattr(storage, name)


ASKED = ("create", "replace", "put_file", "read", "stat", "list", "names", "folders", "delete", "now")


class CountedStorage(MemoryStorage):
    """Notes what it was asked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[str] = []
        self._within = threading.local()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self._noted(name, found) if name in ASKED else found

    def _noted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            if getattr(self._within, "is_busy", False):  # what it asks itself
                return call(*arguments, **named)
            self._within.is_busy = True
            try:
                self.asked.append(name)
                return call(*arguments, **named)
            finally:
                self._within.is_busy = False

        return noted
