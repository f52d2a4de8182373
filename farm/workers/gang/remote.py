"""Channels between hosts: ranks call their leader over TCP and show that they know the gang's key."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

from farm.errors import GangStartError

# Of a stranger who connects and then says nothing.
HANDSHAKE_S = 10
# A host that lost its network says no goodbye: it is asked after so many seconds of silence, so often.
_KEEP_ALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3, socket.TCP_USER_TIMEOUT: 20_000}
_LOOK_S = 0.5


def call_leader(address: str, *, key: bytes, rank: int) -> Connection:
    """A rank's end of its channel. OSError, AuthenticationError."""
    host, _, port = address.rpartition(":")
    called = socket.create_connection((host, int(port)), timeout=HANDSHAKE_S)
    with _handshake(called) as connection:
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
        connection.send_bytes(struct.pack("!I", rank))
        return connection


class Reception:
    """Where ranks call in. Close it when they have."""

    def __init__(self, host: str) -> None:
        self.key = secrets.token_bytes(32)
        self._socket = socket.create_server((host, 0))
        self.address = f"{host}:{self._socket.getsockname()[1]}"

    def admit(self, num_ranks: int, *, timeout_s: float, look: Callable[[], None]) -> list[Connection]:
        """The channels of all ranks, in order. GangStartError; `look` is called every now and then, and may raise."""
        admitted, deadline_s = dict[int, Connection](), time.monotonic() + timeout_s
        try:
            while len(admitted) < num_ranks:
                if time.monotonic() > deadline_s:
                    absent = sorted(set(range(num_ranks)) - admitted.keys())
                    raise GangStartError(f"ranks {absent} did not call within {timeout_s:.0f} s")
                if (caller := self._next()) is not None:
                    admitted[caller[0]] = caller[1]
                else:
                    look()
        except BaseException:
            for connection in admitted.values():
                connection.close()
            raise
        return [admitted[rank] for rank in range(num_ranks)]

    def close(self) -> None:
        """Nobody can call any more."""
        self._socket.close()

    def _next(self) -> tuple[int, Connection] | None:
        self._socket.settimeout(_LOOK_S)
        try:
            calling, _ = self._socket.accept()
            with _handshake(calling) as connection:
                deliver_challenge(connection, self.key)
                answer_challenge(connection, self.key)
                (rank,) = struct.unpack("!I", connection.recv_bytes(4))
        except (OSError, EOFError, AuthenticationError, struct.error):  # a stranger, or nobody yet
            return None
        return rank, connection


@contextmanager
def _handshake(called: socket.socket) -> Iterator[Connection]:
    """A connection that gives up on a silent other side for as long as this lasts, and is closed where it fails."""
    called.setblocking(True)
    called.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    called.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _KEEP_ALIVE.items():
        called.setsockopt(socket.IPPROTO_TCP, option, value)
    _limit_reads(called, HANDSHAKE_S)
    with called.dup() as shared:
        connection = Connection(called.detach())
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        _limit_reads(shared, 0)


def _limit_reads(called: socket.socket, seconds: int) -> None:
    called.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
