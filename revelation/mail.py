"""Mail as a destination: one connection to one's own mail server for each message.

The server has taken it when it has answered the end of the text; from there on it is the server's to deliver.
"""

import contextlib
import logging
import smtplib
import socket
import ssl
from collections.abc import Buffer, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

from oceanus.errors import RefusedError, TellError, TryAgainError
from revelation.dialling import Deadline, Dialler
from revelation.letters import address, letter
from revelation.telling import Message
from revelation.visible import line

Tls = Literal["starttls", "tls", "none"]

PIECE = 16_384
MOST_SAID = 65_536  # all that a server may say in one session

log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Mail:
    """Sends to all recipients at once; told when the server took it for one of them.

    Without `user` nobody logs in. Raises ValueError for addresses that are none, or words that SMTP cannot say.
    """

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        tls: Tls,
        sender: str,
        recipients: Sequence[str],
        *,
        seconds: float = 10,
        context: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        if not recipients:
            raise ValueError("a mail needs at least one recipient")
        if not (user + password).isascii():
            raise ValueError("user and password of the mail server must be ASCII")
        self._host, self._port = host, port
        self._user, self._password = user, password
        self._tls = tls
        self._sender = address(sender)
        self._recipients = tuple(map(address, recipients))
        self._seconds = seconds
        self._context = None if tls == "none" else context or ssl.create_default_context()
        self._now = now

    def tell(self, message: Message) -> None:
        """Send a message; raises TryAgainError or RefusedError."""
        content = letter(message, self._sender, self._recipients, self._now()).as_bytes()
        try:
            refused = self._send(content)
        except smtplib.SMTPRecipientsRefused as exc:
            raise self._by_codes(exc.recipients.values()) from exc
        except smtplib.SMTPResponseException as exc:
            raise self._by_codes([(exc.smtp_code, exc.smtp_error)]) from exc
        except smtplib.SMTPNotSupportedError as exc:
            raise RefusedError(f"{self._host} does not offer what it is to be asked with: STARTTLS or a login") from exc
        except TimeoutError as exc:
            raise TryAgainError(f"{self._host} did not answer in time") from exc
        except (OSError, ValueError) as exc:  # smtplib's own errors are OSErrors; ValueError: a challenge in no base64
            raise TryAgainError(f"{self._host} cannot be talked to: {_word(exc)}") from exc
        if refused:
            codes = sorted({code for code, _ in refused.values()})
            log.warning("%s took a mail for %s of %s recipients, and answered %s for the others", self._host,
                        len(self._recipients) - len(refused), len(self._recipients), codes)  # fmt: skip

    def _send(self, content: bytes) -> dict[str, tuple[int, bytes]]:
        recipients = [recipient.addr_spec for recipient in self._recipients]
        with contextlib.closing(self._session()) as session:
            if self._tls == "starttls":
                session.starttls(context=self._context)
            if self._user:
                session.login(self._user, self._password)
            refused = session.sendmail(self._sender.addr_spec, recipients, content)
            with contextlib.suppress(OSError):  # it has the mail
                session.quit()
        return refused

    def _session(self) -> "_Session":
        context = self._context if self._tls == "tls" else None
        return _Session(self._host, self._port, self._sender.domain, Deadline(self._seconds), context)

    def _by_codes(self, answers: Iterable[tuple[int, bytes | str]]) -> TellError:
        """Return what answers mean: refused where all are of 500 and above."""
        code, said = min(answers, key=lambda answer: answer[0])
        reason = f"{self._host} answered {code}: {line(_text(said), 200)}"
        return RefusedError(reason) if 500 <= code < 600 else TryAgainError(reason)


class _Session(smtplib.SMTP):
    """smtplib's session with a deadline for the whole of it and an end to what the server may say."""

    def __init__(self, host: str, port: int, name: str, deadline: Deadline, context: ssl.SSLContext | None) -> None:
        self._deadline = deadline
        self._context = context
        self._dialler = Dialler(allow_private=True)  # a mail server is often one's own
        super().__init__(host, port, local_hostname=name)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # the deadline counts
        connection = self._dialler.dial(host, port, self._deadline)
        return self._context.wrap_socket(connection, server_hostname=host) if self._context else connection

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Replies(self.sock, self._deadline)
        return super().getreply()

    def send(self, s: Buffer | str) -> None:
        said = s.encode(self.command_encoding) if isinstance(s, str) else bytes(s)
        for start in range(0, len(said), PIECE):
            if self.sock is not None:
                self.sock.settimeout(self._deadline.left())
            super().send(said[start : start + PIECE])

    def data(self, msg: Buffer | str) -> tuple[int, bytes]:
        """Send the text. Raises TryAgainError where no answer to it came: the server may have it."""
        try:
            code, said = super().data(msg)
        except smtplib.SMTPDataError:
            raise
        except OSError as exc:
            raise TryAgainError("the mail server did not answer the mail's last line", unclear=True) from exc
        if not 200 <= code < 600:
            raise TryAgainError("the mail server answered the mail's last line by no code", unclear=True)
        return code, said


class _Replies:
    """What a server says, line by line, each wait ending at the deadline."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket = connection
        self._deadline = deadline
        self._said = b""
        self._left = MOST_SAID

    def readline(self, most: int) -> bytes:
        while b"\n" not in self._said and len(self._said) < most:
            self._socket.settimeout(self._deadline.left())
            heard = self._socket.recv(4096)
            self._left -= len(heard)
            if self._left < 0:
                raise OSError("it says too much")
            if not heard:
                break
            self._said += heard
        end = min(self._said.find(b"\n") + 1 or len(self._said), most)
        said, self._said = self._said[:end], self._said[end:]
        return said

    def close(self) -> None:
        self._said = b""


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _word(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"bad certificate, {exc.verify_message}"
    return getattr(exc, "strerror", None) or type(exc).__name__
