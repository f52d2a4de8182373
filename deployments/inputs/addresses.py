"""Which servers may be asked for an input: the address that is checked is the one that is connected to.

A name is resolved once; each address it has must be public; the connection goes to one of those, so that a name which
answers otherwise the next time (DNS rebinding) gains nothing. Odd notations of an address (0x7f.1, 2130706433) resolve
to what they mean, and are judged by that.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from deployments.inputs.settings import InputSettings
from farm.errors import InputError

MAX_URI_CHARS = 4096

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

# A translator's prefix, behind which lies an IPv4 address (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server that may be asked: the name it is called by, where it is, and what to ask it for."""

    scheme: str
    host: str
    port: int
    address: str
    path: str


def resolve_name(host: str, port: int) -> list[str]:
    """Every address of a name. OSError where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def target_of(uri: str, settings: InputSettings, *, resolve: Resolver = resolve_name) -> Target:
    """Where an http(s) URI leads. InputError where it may not be asked, without saying what its name resolves to."""
    parts = split_uri(uri)
    host, port = _host_and_port(parts)
    if settings.hosts and host not in settings.hosts:
        raise InputError(f"the server {host} is none of those that inputs may come from")
    if settings.ports and port not in settings.ports:
        raise InputError(f"port {port} is not allowed (allowed: {', '.join(map(str, settings.ports))})")
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise InputError(f"the server {host} was not found") from error
    if not addresses:
        raise InputError(f"the server {host} was not found")
    if not settings.is_private_allowed and not all(is_public(address) for address in addresses):
        raise InputError(f"the server {host} is not on the public internet")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme=parts.scheme, host=host, port=port, address=addresses[0], path=path)


def split_uri(uri: str) -> SplitResult:
    """Its parts, scheme in lower case. InputError for what browsers and servers may read in two ways."""
    if len(uri) > MAX_URI_CHARS:
        raise InputError(f"the address has {len(uri)} characters, at most {MAX_URI_CHARS}")
    if any(char <= " " or char == "\\" or char == "\x7f" for char in uri) or not uri.isascii():
        raise InputError("the address holds blanks, backslashes, control or non-ASCII characters; percent-encode them")
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise InputError("the address is not valid") from error


def is_public(text: str) -> bool:
    """Whether an address is of the open internet, also by the IPv4 address that it may stand for."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:  # with a zone, for one: fe80::1%eth0
        return False
    if address in _NAT64:  # what counts is where the translator leads
        return _is_open(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return all(_is_open(each) for each in (address, *_within(address)))


def _is_open(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _within(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 one carries."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    carried: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    return [each for each in carried if each is not None]


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError("the address has no valid port") from error
    if not host:
        raise InputError("the address names no server")
    if parts.username is not None or parts.password is not None:
        raise InputError("the address holds a user name; that is not taken")
    if "%" in host or len(host) > 253:
        raise InputError("the address names no valid server")
    return host, port if port is not None else {"http": 80, "https": 443}[parts.scheme]
