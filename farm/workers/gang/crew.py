"""Ranks that are up: started, met and loaded, each at the end of its channel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue

from farm.errors import GangStartError, UsageError
from farm.workers.engine import ModelPlan
from farm.workers.gang.channel import Channel, Letter
from farm.workers.gang.faults import raised_again
from farm.workers.gang.launch import RankSet
from farm.workers.gang.messages import Failed, Gone, Leave, Meeting, Message, Ready, Setup, StoreOpened


class Crew:
    """Starts its ranks when made: GangStartError where they do not come up, UsageError where weights do not load."""

    def __init__(self, ranks: RankSet, plan: ModelPlan, *, backend: str, load_s: float) -> None:
        self.ranks = ranks
        self._inbox = SimpleQueue[Letter]()
        self._channels = list[Channel]()
        deadline_s = time.monotonic() + load_s
        try:
            for rank, connection in enumerate(ranks.start(timeout_s=load_s)):
                self._channels.append(Channel(connection, rank=rank, inbox=self._inbox))
            self._send_all(Setup(backend=backend, plan=plan))
            self.ready = self._await_ready(deadline_s)
            ranks.loaded()
        except BaseException:
            self.kill()
            raise

    @property
    def size(self) -> int:
        """Ranks."""
        return len(self._channels)

    def send(self, rank: int, message: Message) -> None:
        """Returns at once."""
        self._channels[rank].send(message)

    def receive(self, *, until_s: float) -> Letter | None:
        """The next letter of any rank; None where none came by then (monotonic)."""
        try:
            return self._inbox.get(timeout=max(0.0, min(until_s - time.monotonic(), 1e6)))
        except Empty:
            return None

    def loss(self) -> str | None:
        """How a rank ended that had nothing to do, None where all are up. For between two orders."""
        while (letter := self.receive(until_s=0.0)) is not None:
            if isinstance(letter.message, Gone):
                return self.ranks.fate(letter.rank)
        return None

    def taken(self, rank: int) -> None:
        """A chunk of this rank has been used: it may send another."""
        self._channels[rank].taken()

    def seen(self, rank: int) -> None:
        """A preview of this rank has been shown: the next one is let through."""
        self._channels[rank].seen()

    def leave(self, *, timeout_s: float) -> None:
        """Let the ranks end by themselves, then kill."""
        self._send_all(Leave())
        self.ranks.wait(timeout_s=timeout_s)
        self.kill()

    def kill(self) -> None:
        """End all processes and threads; what is sent from then on is lost."""
        self.ranks.stop()
        for channel in self._channels:
            channel.close()

    def _send_all(self, message: Message) -> None:
        for channel in self._channels:
            channel.send(message)

    def _await_ready(self, deadline_s: float) -> Ready:
        ready = dict[int, Ready]()
        for letter in self._letters(deadline_s):
            match letter.message:
                case Ready():
                    ready[letter.rank] = letter.message
                case StoreOpened(port=port):
                    for channel in self._channels[1:]:
                        channel.send(Meeting(host=self.ranks.host, port=port))
                case Failed():
                    self._refuse(letter.rank, letter.message)
                case Gone():
                    raise GangStartError(self.ranks.fate(letter.rank))
            if len(ready) == self.size:
                break
        else:
            late = [rank for rank in range(self.size) if rank not in ready]
            raise GangStartError(f"not ready within the time to load:\n{self.ranks.stacks(late)}")
        return ready[0]

    def _letters(self, deadline_s: float) -> Iterator[Letter]:
        while (letter := self.receive(until_s=deadline_s)) is not None:
            yield letter

    def _refuse(self, rank: int, failed: Failed) -> None:
        error = raised_again(failed)
        if isinstance(error, UsageError):
            raise error
        raise GangStartError(f"rank {rank} could not be made ready: {failed.error_class}: {failed.message}") from error
