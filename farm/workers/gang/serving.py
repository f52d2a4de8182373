"""A rank's work: takes orders off its channel, renders, and tells of every step."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from farm.errors import ClipYielded
from farm.logs import fields, log_context
from farm.workers.engine import RankEngine, SamplerState, open_backend
from farm.workers.gang.faults import told
from farm.workers.gang.messages import (
    Chunk,
    Decoded,
    Done,
    Kept,
    Leave,
    Meeting,
    Message,
    Previewed,
    Ready,
    Setup,
    Stepped,
    Stop,
    StoreOpened,
    Work,
)

_M = TypeVar("_M", bound=Message)

_LOG = logging.getLogger(__name__)


def serve(connection: Connection, *, rank: int, shared_folder: Path | None) -> None:
    """Until told to leave; the process ends at once where the channel closes."""
    post = Post(connection)
    setup = post.expect(Setup)
    begun_s = time.monotonic()
    try:
        seat = RankSeat(rank=rank, shared_folder=shared_folder, post=post)
        engine = open_backend(setup.backend).open_render(setup.plan, seat)
        post.send(Ready(execution=engine.environment(), tame=engine.environment(is_tame=True)))
    except Exception as error:  # the process boundary
        _tell_failed(error)
        post.send(told(error))
        post.expect(Leave)
        return
    _LOG.info("rank ready", extra=fields(seconds=round(time.monotonic() - begun_s, 3), pid=os.getpid()))
    while (work := post.next_work()) is not None:
        with log_context(clip_id=work.order.spec.clip_id):
            post.send(_carried_out(engine, work, post))
    engine.close()


class Post:
    """The rank's end of the channel. A thread reads it, so that a rank deep in its work hears when to stop or end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = SimpleQueue[Message]()
        self.stopped_number = 0
        threading.Thread(target=self._read, name="post", daemon=True).start()

    def send(self, message: Message) -> None:
        """Waits while the leader is not ready for more."""
        self._connection.send(message)

    def expect(self, kind: type[_M]) -> _M:
        """The next message, which can be of no other kind."""
        message = self._inbox.get()
        if not isinstance(message, kind):
            raise RuntimeError(f"a {type(message).__name__} where a {kind.__name__} was due")
        return message

    def next_work(self) -> Work | None:
        """None where the rank is to leave."""
        message = self._inbox.get()
        if not isinstance(message, (Work, Leave)):
            raise RuntimeError(f"a {type(message).__name__} where work was due")
        return message if isinstance(message, Work) else None

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                message: Message = self._connection.recv()
                if isinstance(message, Stop):
                    self.stopped_number = message.number
                else:
                    self._inbox.put(message)
        os._exit(1)  # nobody is left to work for


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSeat:
    """This rank's place among the others, as its engine sees it; see `farm.workers.engine.Seat`."""

    rank: int
    shared_folder: Path | None
    post: Post

    def beat(self) -> None:
        self.post.send(Decoded())

    def announce(self, port: int) -> None:
        self.post.send(StoreOpened(port=port))

    def meeting_point(self) -> tuple[str, int]:
        meeting = self.post.expect(Meeting)
        return meeting.host, meeting.port


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teller:
    """The watch of a rank's engine: passes everything on to the leader."""

    post: Post
    number: int

    def stepped(self, done: int, total: int) -> None:
        self.post.send(Stepped(done=done, total=total))

    def keep(self, state: SamplerState) -> None:
        self.post.send(Kept(state=state))

    def preview(self, step: int, image: bytes) -> None:
        self.post.send(Previewed(step=step, image=image))

    def should_yield(self) -> bool:
        return self.post.stopped_number == self.number


def _carried_out(engine: RankEngine, work: Work, post: Post) -> Message:
    _LOG.debug("rank begins", extra=fields(order=work.number))
    try:
        for frames in engine.render(work.order, _Teller(post=post, number=work.number)):
            post.send(Chunk(frames=frames))
    except ClipYielded:
        return Done(is_yielded=True)
    except Exception as error:  # the process boundary
        _tell_failed(error)
        return told(error)
    _LOG.debug("rank is done", extra=fields(order=work.number))
    return Done(is_yielded=False)


def _tell_failed(error: Exception) -> None:
    _LOG.warning("rank failed", extra=fields(error_class=type(error).__name__, error=str(error)))
