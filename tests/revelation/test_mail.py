"""revelation.mail and revelation.letters, with a real SMTP server on loopback, and one that follows a script."""

import email
import email.policy
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given
from hypothesis import strategies as st

from oceanus.errors import RefusedError, TryAgainError
from revelation.letters import address, letter
from revelation.mail import Mail
from revelation.telling import Message, Table
from tests.revelation.places import certificate, closed_port, silent_port

NOW = datetime(2026, 11, 22, 12, 15, 3, tzinfo=UTC)
MESSAGE = Message(key="paid:1a2b", subject="10000 yen", text="東京 🎉\n.\nsecond line")
TABLE = Table(columns=("dt", "<url>"), rows=(("2026-11-22", "/a?<script>alert(1)</script>&b"), ("2026-11-23", "/店")))
HEADERS = {"Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
           "Content-Transfer-Encoding"}  # fmt: skip
ANY = st.text(st.characters(exclude_categories=()))


class Inbox:
    """What an SMTP server took; `says` are its answers to recipients and to the text, by who or `DATA`."""

    def __init__(self, **says: str) -> None:
        self.says = says
        self.taken: list[Envelope] = []
        self.tls: list[bool] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, to: str, options: list[str]
    ) -> str:
        answer = self.says.get(to.partition("@")[0], "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(to)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" not in self.says:
            self.taken.append(envelope)
            self.tls.append(session.ssl is not None)
        return self.says.get("DATA", "250 OK")


@contextmanager
def server(inbox: Inbox, **more: Any) -> Iterator[int]:
    """Run aiosmtpd on a free port of loopback; yield the port."""
    controller = Controller(inbox, hostname="127.0.0.1", port=closed_port(), ready_timeout=30, **more)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@contextmanager
def script(*steps: bytes | Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server that says one step at a time, the first as a greeting, then one for each piece it hears."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=_play, args=(listening, steps), daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join(5)


def _play(listening: socket.socket, steps: tuple[bytes | Callable[[socket.socket], None], ...]) -> None:
    with suppress(OSError):
        connection, _ = listening.accept()
        with connection:
            for index, step in enumerate(steps):
                if index and not connection.recv(65_536):
                    return
                if callable(step):
                    step(connection)
                else:
                    connection.sendall(step)


def drip(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"2")
        time.sleep(0.02)


def flood(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"250-and more\r\n" * 1000)


def wait(connection: socket.socket) -> None:
    connection.recv(1)


def mail(port: int, *, to: tuple[str, ...] = ("shop@example.com",), **more: Any) -> Mail:
    chosen: dict[str, Any] = {"user": "", "password": "", "tls": "none", "seconds": 1, **more}
    return Mail("127.0.0.1", port, sender="oceanus@example.com", recipients=to, now=lambda: NOW, **chosen)


def failure(destination: Mail) -> TryAgainError | RefusedError:
    began = time.monotonic()
    with pytest.raises((TryAgainError, RefusedError)) as caught:
        destination.tell(MESSAGE)
    assert time.monotonic() - began < 30
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, TryAgainError | RefusedError)
    return caught.value


def read(envelope: Envelope) -> EmailMessage:
    assert isinstance(envelope.content, bytes)
    read = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    return read


def test_a_mail_arrives_as_it_was_written() -> None:
    inbox = Inbox()

    with server(inbox) as port:
        mail(port, to=("shop@example.com", "店 <boss@example.com>")).tell(MESSAGE)

    [envelope] = inbox.taken
    got = read(envelope)
    assert (envelope.mail_from, envelope.rcpt_tos) == ("oceanus@example.com", ["shop@example.com", "boss@example.com"])
    assert (got["Subject"], got["From"], got["To"]) == (
        "10000 yen", "oceanus@example.com", "shop@example.com, 店 <boss@example.com>"
    )  # fmt: skip
    assert (got["Date"].datetime, got["Auto-Submitted"]) == (NOW, "auto-generated")
    assert got.get_content().replace("\r\n", "\n") == "東京 🎉\n.\nsecond line\n"


def test_a_repeated_telling_has_the_same_message_id_and_another_one_has_not() -> None:
    made = [letter(Message(key=key), address("o@example.com"), (), NOW)["Message-ID"] for key in ("a", "a", "b")]

    assert made[0] == made[1] != made[2]
    assert made[0].endswith("@example.com>")


def test_a_table_is_told_in_plain_text_and_in_html_with_nothing_of_it_taken_as_html() -> None:
    made = letter(Message(key="k", text="a < b", table=TABLE), address("o@example.com"), (), NOW)
    got = email.message_from_bytes(made.as_bytes(), policy=email.policy.default)

    assert isinstance(got, EmailMessage)
    plain, page = got.get_body(("plain",)), got.get_body(("html",))
    assert got.get_content_type() == "multipart/alternative"
    assert plain is not None
    assert page is not None
    assert "2026-11-22  /a?<script>alert(1)</script>&b" in plain.get_content()
    assert "<script>" not in page.get_content()
    assert "<td>/a?&lt;script&gt;alert(1)&lt;/script&gt;&amp;b</td>" in page.get_content()
    assert "a &lt; b" in page.get_content()


@given(subject=ANY, text=ANY, key=ANY, cell=ANY)
def test_no_text_makes_a_header(subject: str, text: str, key: str, cell: str) -> None:
    table = Table(columns=(cell,), rows=((cell,),)) if cell else None
    message = Message(key=key, subject=subject, text=text, table=table)

    written = letter(message, address("店, Ltd. <o@example.com>"), (address("a@example.com"),), NOW).as_bytes()

    got = email.message_from_bytes(written, policy=email.policy.default)
    assert set(got.keys()) <= HEADERS
    assert len(got.keys()) == len(set(got.keys()))
    assert len(got["Subject"]) <= 200
    assert len(got["Subject"].splitlines()) <= 1
    assert all(len(row) <= 998 for row in written.split(b"\r\n"))
    assert written.isascii()


@pytest.mark.parametrize(
    "subject",
    [
        "a\r\nBcc: all@example.com",
        "a\nBcc: all@example.com",
        "a\x85Bcc: b\u2028Bcc: c\x0bBcc: d",
        "=?utf-8?q?a=0ABcc:_all@example.com?=",
        "=?utf-8?b?YQpCY2M6IGFsbEBleGFtcGxlLmNvbQ==?=",
        "= ==?utf-8?q?a=0D=0ABcc:_b?=",
        "\ud800\udc00\x00 東京" * 60,
        "🎉" * 300,
        "x" * 5000,
        "\u202eevil",
    ],
)
def test_a_subject_stays_one(subject: str) -> None:
    written = letter(Message(key="k", subject=subject), address("o@example.com"), (address("a@example.com"),), NOW)

    got = email.message_from_bytes(written.as_bytes(), policy=email.policy.default)
    compat = email.message_from_bytes(written.as_bytes())
    assert set(got.keys()) <= HEADERS
    assert got["Bcc"] is None
    assert "\n" not in got["Subject"]
    assert "\n" not in str(make_header(decode_header(compat["Subject"])))
    assert 1 <= len(got["Subject"]) <= 200


@given(st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="=?"), min_size=1, max_size=200))
def test_a_subject_arrives_as_it_was(subject: str) -> None:
    written = letter(Message(key="k", subject=subject), address("o@example.com"), (), NOW)

    assert email.message_from_bytes(written.as_bytes(), policy=email.policy.default)["Subject"] == subject


@pytest.mark.parametrize(
    "text",
    ["", "shop", "a@b@c", "a@example.com\r\nBcc: b@example.com", "a@example.com, b@example.com", "@example.com", "a@",
     "a b@example.com", "あ@example.com", "a@例え.jp", "\ud800@example.com", "a..b@example.com"],
)  # fmt: skip
def test_what_is_no_address_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="no mail address"):
        address(text)


def test_an_addresss_name_cannot_make_a_header() -> None:
    made = address('"Shop\r\nBcc: b@example.com" <a@example.com>')

    assert made.addr_spec == "a@example.com"
    assert len(made.display_name.splitlines()) == 1


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ({"shop": "451 4.7.1 greylisted"}, TryAgainError),
        ({"shop": "550 5.1.1 nobody here"}, RefusedError),
        ({"DATA": "452 4.3.1 no room"}, TryAgainError),
        ({"DATA": "554 5.7.1 spam"}, RefusedError),
        ({"DATA": "421 4.3.2 closing"}, TryAgainError),
    ],
)
def test_4xx_is_tried_again_and_5xx_is_refused(says: dict[str, str], kind: type) -> None:
    with server(Inbox(**says)) as port:
        error = failure(mail(port))

    assert type(error) is kind
    assert next(iter(says.values())).replace(" ", ": ", 1) in str(error)
    assert not getattr(error, "unclear", False)


def test_all_recipients_refused_for_now_and_for_ever_is_tried_again() -> None:
    with server(Inbox(a="550 no", b="450 later")) as port:
        error = failure(mail(port, to=("a@example.com", "b@example.com")))

    assert isinstance(error, TryAgainError)


def test_one_recipient_refused_is_told_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox(b="550 no")

    with server(inbox) as port:
        mail(port, to=("a@example.com", "b@example.com")).tell(MESSAGE)

    warnings = [record.getMessage() for record in caplog.records if record.name == "revelation.mail"]
    assert [envelope.rcpt_tos for envelope in inbox.taken] == [["a@example.com"]]
    assert warnings == ["127.0.0.1 took a mail for 1 of 2 recipients, and answered [550] for the others"]


def test_starttls_and_login(tmp_path: Path) -> None:
    inbox = Inbox()
    theirs, ours = certificate(tmp_path, "127.0.0.1")
    more = {"tls_context": theirs, "require_starttls": True, "authenticator": knows, "auth_required": True}

    with server(inbox, **more) as port:
        mail(port, tls="starttls", user="me", password="right", context=ours).tell(MESSAGE)
        wrong = failure(mail(port, tls="starttls", user="me", password="w0rd", context=ours))

    assert (inbox.tls, type(wrong)) == ([True], RefusedError)
    assert "w0rd" not in str(wrong)


def knows(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
    return AuthResult(success=given == LoginPassword(b"me", b"right"), handled=False)


def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    inbox = Inbox()
    theirs, ours = certificate(tmp_path, "127.0.0.1")

    with server(inbox, ssl_context=theirs) as port:
        mail(port, tls="tls", context=ours).tell(MESSAGE)

    assert len(inbox.taken) == 1


@pytest.mark.parametrize(("tls", "name", "days"), [("starttls", "other.test", 1), ("tls", "127.0.0.1", -1)])
def test_a_bad_certificate_is_tried_again_and_nothing_was_sent(tmp_path: Path, tls: str, name: str, days: int) -> None:
    inbox = Inbox()
    theirs, ours = certificate(tmp_path, name, days=days)
    more: dict[str, ssl.SSLContext] = {"tls_context" if tls == "starttls" else "ssl_context": theirs}

    with server(inbox, **more) as port:
        error = failure(mail(port, tls=tls, context=ours))

    assert isinstance(error, TryAgainError)
    assert (error.unclear, "certificate" in str(error), inbox.taken) == (False, True, [])


def test_a_server_without_starttls_gets_no_mail() -> None:
    inbox = Inbox()

    with server(inbox) as port:
        error = failure(mail(port, tls="starttls"))

    assert (type(error), inbox.taken) == (RefusedError, [])


def test_nothing_was_delivered_where_nobody_listens_or_speaks() -> None:
    with silent_port() as port:
        silent = failure(mail(port))
    closed = failure(mail(closed_port()))

    assert isinstance(silent, TryAgainError)
    assert isinstance(closed, TryAgainError)
    assert (silent.unclear, closed.unclear) == (False, False)


READY = (b"220 hello\r\n", b"250 hello\r\n", b"250 sender\r\n", b"250 recipient\r\n")


@pytest.mark.parametrize(
    ("steps", "unclear"),
    [
        ((b"",), False),
        ((b"\x00\xff\r\n",), False),
        ((b"421 busy\r\n",), False),
        ((drip,), False),
        ((flood,), False),
        ((b"220 hello\r\n", flood), False),
        ((b"220 hello\r\n", drip), False),
        (READY[:3], False),
        ((*READY, b"354 go\r\n"), True),
        ((*READY, b"354 go\r\n", wait), True),
        ((*READY, b"354 go\r\n", drip), True),
        ((*READY, b"354 go\r\n", flood), True),
        ((*READY, b"354 go\r\n", b"what?\r\n"), True),
        ((*READY, b"354 go\r\n", b"451 later\r\n"), False),
    ],
)
def test_whatever_a_server_does_is_tried_again_and_unclear_only_behind_the_last_line(
    steps: tuple[Any, ...], unclear: bool
) -> None:
    with script(*steps) as port:
        error = failure(mail(port))

    assert isinstance(error, TryAgainError)
    assert error.unclear is unclear


@pytest.mark.parametrize("end", [b"", b"500 what\r\n", b"garbage\r\n", wait])
def test_a_bad_goodbye_changes_nothing(end: Any) -> None:
    with script(*READY, b"354 go\r\n", b"250 taken\r\n", end) as port:
        mail(port).tell(MESSAGE)


def test_a_login_in_no_base64_is_tried_again() -> None:
    with script(b"220 hello\r\n", b"250-hello\r\n250 AUTH CRAM-MD5 PLAIN\r\n", b"334 x\r\n") as port:
        error = failure(mail(port, user="me", password="pw"))

    assert isinstance(error, TryAgainError)


def test_words_that_smtp_cannot_say_stop_the_start() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        mail(25, user="私", password="pw")
    with pytest.raises(ValueError, match="recipient"):
        mail(25, to=())
