"""The leader's end of a rank's channel: threads read and write it, so that no rank can make the leader wait."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue

from farm.workers.gang.messages import Chunk, Gone, Message, Previewed

# Decoded chunks that wait for the leader; with more, rank 0 waits. A clip's length must not show in memory.
CHUNKS_AHEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message, its sender, and when it came (monotonic)."""

    rank: int
    message: Message
    at_s: float


class Channel:
    """Letters go into `inbox`, the last of them `Gone`."""

    def __init__(self, connection: Connection, *, rank: int, inbox: SimpleQueue[Letter]) -> None:
        self._connection = connection
        self._rank = rank
        self._inbox = inbox
        self._outbox = SimpleQueue[Message | None]()
        self._room = threading.Semaphore(CHUNKS_AHEAD)
        self._preview_room = threading.Semaphore()
        self._is_closing = False
        self._threads = [
            threading.Thread(target=run, name=f"rank-{rank}-{run.__name__}", daemon=True)
            for run in (self._read, self._write)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message: Message) -> None:
        """Returns at once; a message to a rank that is gone is lost."""
        self._outbox.put(message)

    def taken(self) -> None:
        """A chunk of this rank has been used."""
        self._room.release()

    def seen(self) -> None:
        """A preview of this rank has been shown."""
        self._preview_room.release()

    def close(self) -> None:
        """Shut it for both sides; waits for the threads."""
        self._is_closing = True
        self._room.release()
        self._outbox.put(None)
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as shared:
            shared.shutdown(socket.SHUT_RDWR)  # wakes both threads
        for thread in self._threads:
            thread.join()
        self._connection.close()

    def _read(self) -> None:
        # What cannot be unpickled ends a channel as well: it then tells nothing that can be relied on.
        with suppress(Exception):
            while not self._is_closing:
                message: Message = self._connection.recv()
                if isinstance(message, Previewed) and not self._preview_room.acquire(blocking=False):
                    continue  # one waits already: a leader that is slow shall not be shown what is long past
                self._inbox.put(Letter(rank=self._rank, message=message, at_s=time.monotonic()))
                if isinstance(message, Chunk):
                    self._room.acquire()
        self._inbox.put(Letter(rank=self._rank, message=Gone(), at_s=time.monotonic()))

    def _write(self) -> None:
        with suppress(OSError):  # the reader tells
            while (message := self._outbox.get()) is not None:
                self._connection.send(message)
