"""A proxy before an S3 server that answers some requests with a fault, or loses the answer after the deed."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from services.endpoint import S3Endpoint

LOSE_REPLY = 0


@dataclass
class Faults:
    """The faults to come, by HTTP method: a status to answer with, or LOSE_REPLY. `seen` counts requests."""

    coming: dict[str, list[int]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def next_for(self, method: str) -> int | None:
        self.seen[method] += 1
        queue = self.coming.get(method)
        return queue.pop(0) if queue else None


@contextmanager
def flaky(endpoint: S3Endpoint) -> Iterator[tuple[S3Endpoint, Faults]]:
    """The endpoint as seen through the proxy, and the faults to fill in."""
    faults = Faults()
    target = urlsplit(endpoint.url).netloc

    class Handler(_Forward):
        pass

    Handler.target, Handler.faults = target, faults
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield replace(endpoint, url=f"http://127.0.0.1:{server.server_address[1]}"), faults
        finally:
            server.shutdown()
            thread.join()


class _Forward(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: str
    faults: Faults

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.faults.next_for(self.command)
        if fault not in (None, LOSE_REPLY):
            self._answer(fault, {"Content-Type": "application/xml"}, _error_text(fault))
            return
        connection = http.client.HTTPConnection(self.target, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        reply = connection.getresponse()
        data = reply.read()
        connection.close()
        if fault == LOSE_REPLY:
            self.close_connection = True
            return
        headers = {name: value for name, value in reply.getheaders() if name.lower() not in _HOP_HEADERS}
        self._answer(reply.status, headers, data, length=reply.getheader("Content-Length"))

    def _answer(self, status: int, headers: dict[str, str], data: bytes, *, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def log_message(self, *args: object) -> None:
        pass


_HOP_HEADERS = ("content-length", "transfer-encoding", "connection")

_CODES = {
    403: "SignatureDoesNotMatch",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    500: "InternalError",
    503: "SlowDown",
}


def _error_text(status: int) -> bytes:
    return f"<Error><Code>{_CODES[status]}</Code><Message>as ordered</Message></Error>".encode()
