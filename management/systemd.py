"""systemd, as `oceanus up` meets it: the socket that it may hand over, and that it is told when all is up.

A socket of systemd's stays open while `up` is stopped and started: who connects in between waits, and is not refused.
The protocols are those of sd_listen_fds(3) and sd_notify(3).
"""

import socket
from contextlib import suppress

from oceanus.errors import MisconfiguredError
from oceanus.settings import UpSettings

FIRST_DESCRIPTOR = 3


def handed_over(settings: UpSettings, pid: int) -> socket.socket | None:
    """Return the listening socket that systemd hands to process `pid`, if it does; raises MisconfiguredError."""
    if not settings.listen_fds or settings.listen_pid != pid:
        return None
    remedy = "oceanus.socket has one ListenStream=, an address and a port"
    if settings.listen_fds > 1:
        raise MisconfiguredError([f"systemd hands over {settings.listen_fds} sockets: {remedy}"])
    handed = socket.socket(fileno=FIRST_DESCRIPTOR)
    if handed.family not in (socket.AF_INET, socket.AF_INET6):
        raise MisconfiguredError([f"systemd hands over a socket of {handed.family.name}: {remedy}"])
    return handed


def tell(settings: UpSettings, state: str) -> None:
    """Tell systemd a state, such as `READY=1`; nobody hears it where systemd has not asked for it."""
    if not settings.notify_socket:
        return
    address = settings.notify_socket
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaks:
        speaks.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        speaks.send(state.encode())
