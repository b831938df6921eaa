"""Connections by a deadline, to addresses that may be reached.

A name is looked up once, and the address that was judged is the one that is connected to: a name server that answers
differently the second time (DNS rebinding) is not asked a second time.
"""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from ipaddress import IPv4Address, IPv6Network, ip_address

from oceanus.errors import RefusedError

Resolve = Callable[[str, int], list[str]]

# RFC 6052 and RFC 8215 (NAT64), RFC 4291 2.5.5 (IPv4-compatible and IPv4-mapped): an IPv4 address in other clothes.
_WRAPPED = tuple(IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0/96"))


class Deadline:
    """The moment at which a whole call must be over, however slowly its parts drip."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left; raises TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left


def addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name as the machine's resolver knows them; raises OSError or UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Dialler:
    """Opens connections; without `allow_private` to public addresses alone."""

    def __init__(self, *, allow_private: bool, resolve: Resolve = addresses) -> None:
        self._allow_private = allow_private
        self._resolve = resolve

    def dial(self, host: str, port: int, deadline: Deadline) -> socket.socket:
        """Return a connected socket.

        Raises RefusedError where no address of the name may be reached, and OSError where none answers in time.
        """
        found = _within(deadline, partial(self._resolve, host, port))
        allowed = found if self._allow_private else public(found)
        if found and not allowed:
            raise RefusedError(f"{host} has no public address")
        return _connect(allowed, port, deadline)


def public(found: list[str]) -> list[str]:
    """Return those of the addresses that are public, in their order."""
    return [address for address in found if is_public(address)]


def is_public(text: str) -> bool:
    """Tell whether an address belongs to one machine of the public internet, written in no roundabout way."""
    address = ip_address(text)
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if isinstance(address, IPv4Address):
        return True
    tunnelled = address.sixtofour or address.teredo or address.is_site_local
    return not tunnelled and not any(address in network for network in _WRAPPED)


def _connect(allowed: list[str], port: int, deadline: Deadline) -> socket.socket:
    trouble = OSError("the name has no address")
    for index, address in enumerate(allowed):
        try:  # an address that swallows everything leaves time for the next
            return socket.create_connection((address, port), deadline.left() / (len(allowed) - index))
        except OSError as exc:
            trouble = exc
    raise trouble


def _within[T](deadline: Deadline, work: Callable[[], T]) -> T:
    """Run `work`, which knows no time limit, in a thread that is left behind when the time is over."""
    future: Future[T] = Future()
    threading.Thread(target=_run, args=(future, work), daemon=True).start()
    return future.result(deadline.left())


def _run[T](future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except OSError as exc:
        future.set_exception(exc)
    except UnicodeError as exc:  # a label of more than 63 characters
        future.set_exception(OSError(f"no name: {exc}"))
