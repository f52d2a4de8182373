"""Fetching an input by its URI: http(s) from public servers, data in the URI itself, S3 buckets that were named.

Every bound is on what is received, not on what is announced, and the whole of it (redirects, slow servers, bodies that
drip) ends by one deadline. Proxies of the environment are not used: they would ask addresses that nobody checked.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import unquote_to_bytes, urljoin

from deployments.inputs.addresses import Resolver, Target, resolve_name, split_uri, target_of
from deployments.inputs.settings import InputSettings
from farm.errors import InputError, StorageError
from farm.files import Files

CHUNK_BYTES = 64 << 10
_HEADERS = {"User-Agent": "wanfarm", "Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"}
_REDIRECTS = (301, 302, 303, 307, 308)


class Fetcher:
    """Gets inputs for strangers. Blocking: call it from a thread. InputError says why one cannot be had."""

    def __init__(self, settings: InputSettings, files: Files, *, resolve: Resolver = resolve_name) -> None:
        self._settings = settings
        self._files = files
        self._resolve = resolve
        self._tls = ssl.create_default_context()

    def fetch(self, uri: str) -> bytes:
        """The content, at most `max_bytes` of it."""
        scheme = scheme_of(uri)
        if scheme not in self._settings.schemes:
            allowed = ", ".join(self._settings.schemes) or "none"
            raise InputError(f"addresses of {scheme or 'no scheme'} are not taken (taken: {allowed})")
        if scheme == "data":
            return self._checked(decode_data_uri(uri, max_bytes=self._settings.max_bytes))
        return self._from_bucket(uri) if scheme == "s3" else self._from_server(uri)

    def _from_server(self, uri: str) -> bytes:
        deadline_s = time.monotonic() + self._settings.timeout_s
        for _ in range(self._settings.max_redirects + 1):
            target = target_of(uri, self._settings, resolve=self._resolve)
            found = self._ask(target, deadline_s)
            if isinstance(found, bytes):
                return self._checked(found)
            uri = _joined(uri, found)
            scheme = scheme_of(uri)
            if scheme not in ("http", "https") or scheme not in self._settings.schemes:
                raise InputError(f"the server sends on to an address of {scheme or 'no scheme'}, which is not taken")
        raise InputError(f"the server sends on more than {self._settings.max_redirects} times")

    def _ask(self, target: Target, deadline_s: float) -> bytes | str:
        """The content, or where the server sends on to."""
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise _too_slow(self._settings)
        connection = _Connection(target, self._tls, timeout_s=left_s)
        # The socket's own time limit begins anew with each byte; this one does not.
        guard = threading.Timer(left_s, connection.abort)
        guard.daemon = True
        guard.start()
        try:
            connection.request("GET", target.path, headers={**_HEADERS, "Host": _host_header(target)})
            response = connection.getresponse()
            if response.status in _REDIRECTS:
                return _location(response)
            if response.status != 200:
                raise InputError(f"the server {target.host} answered {response.status}")
            body = self._body(response)
            # A connection that was aborted reads like one that came to its end.
            if connection.is_aborted:
                raise _too_slow(self._settings)
            if response.length:
                raise InputError(f"what the server {target.host} sent breaks off")
            return body
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline_s:
                raise _too_slow(self._settings) from error
            raise InputError(f"the server {target.host} could not be read ({type(error).__name__})") from error
        finally:
            guard.cancel()
            connection.close()

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced[:20]) > self._settings.max_bytes:
            raise _too_long(self._settings)
        data = bytearray()
        while chunk := response.read(CHUNK_BYTES):
            data += chunk
            if len(data) > self._settings.max_bytes:
                raise _too_long(self._settings)
        return bytes(data)

    def _from_bucket(self, uri: str) -> bytes:
        bucket = split_uri(uri).netloc
        if bucket not in self._settings.s3_buckets:
            raise InputError(f"the bucket {bucket} is none of those that inputs may come from")
        try:
            return self._checked(self._files.read(uri, max_bytes=self._settings.max_bytes))
        except StorageError as error:
            raise InputError(f"{uri} could not be read") from error

    def _checked(self, data: bytes) -> bytes:
        if len(data) > self._settings.max_bytes:
            raise _too_long(self._settings)
        return data


class _Connection(http.client.HTTPConnection):
    """HTTP, with TLS where asked, to the address that was checked; the certificate is the name's."""

    def __init__(self, target: Target, tls: ssl.SSLContext, *, timeout_s: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout_s)
        self._target = target
        self._tls = tls
        self._open: socket.socket | None = None
        self.is_aborted = False

    def connect(self) -> None:
        self._open = socket.create_connection((self._target.address, self._target.port), timeout=self.timeout)
        if self._target.scheme == "https":
            self._open = self._tls.wrap_socket(
                self._open, server_hostname=self._target.host, do_handshake_on_connect=False
            )
        self.sock = self._open
        if self.is_aborted:  # before there was anything to abort
            raise TimeoutError
        # Apart from the wrapping, which takes the socket away from whoever would abort it.
        if isinstance(self._open, ssl.SSLSocket):
            self._open.do_handshake()

    def abort(self) -> None:
        """From another thread: whoever reads or writes comes to an end."""
        self.is_aborted = True
        if self._open is not None:
            with suppress(OSError):
                self._open.shutdown(socket.SHUT_RDWR)


def scheme_of(uri: str) -> str:
    """In lower case, empty where there is none."""
    scheme, colon, _ = uri[:20].partition(":")
    return scheme.lower() if colon and scheme.replace("+", "").isalnum() else ""


def decode_data_uri(uri: str, *, max_bytes: int) -> bytes:
    """What a data URI holds. InputError where it is none, or too long."""
    head, comma, body = uri[5:].partition(",")
    if not comma:
        raise InputError("the data URI has no comma, so no data")
    if len(body) > 3 * max_bytes + 16:  # percent-encoding takes three characters a byte
        raise InputError(f"the data URI holds more than {max_bytes} bytes")
    decode: Callable[[str], bytes] = _decode_base64 if head.lower().endswith(";base64") else unquote_to_bytes
    return decode(body)


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(unquote_to_bytes(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("the data URI's base64 is not valid") from error


def _joined(uri: str, location: str) -> str:
    try:
        return urljoin(uri, location)
    except ValueError as error:
        raise InputError("the server sends on to an address that is not valid") from error


def _location(response: http.client.HTTPResponse) -> str:
    location = response.headers.get("Location", "")
    if not location:
        raise InputError("the server sends on, but does not say where to")
    return location


def _host_header(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == {"http": 80, "https": 443}[target.scheme] else f"{host}:{target.port}"


def _too_long(settings: InputSettings) -> InputError:
    return InputError(f"it has more than {settings.max_bytes} bytes")


def _too_slow(settings: InputSettings) -> InputError:
    return InputError(f"it did not arrive within {settings.timeout_s:g} s")
