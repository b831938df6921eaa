"""A message as a mail that no stranger's text can add a header to. Pure.

A repeated telling has the same Message-ID, by which a mail server or a reader may know it again.
"""

import html
import re
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256

from revelation import columns
from revelation.telling import Message, Table
from revelation.visible import clean, line

MOST_SUBJECT = 200
MOST_CELL = 2000
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_NAMED = re.compile(r"(.*)<([^<>]*)>", re.DOTALL)
_POLICY = SMTP.clone(cte_type="7bit")  # no line of the text depends on what the servers on the way can take
_NOTHING = "(no text)"


def address(text: str) -> Address:
    """Read `shop@example.com` or `The shop <shop@example.com>`; raises ValueError for anything else."""
    named = _NAMED.fullmatch(text.strip())
    name, spec = named.groups() if named else ("", text.strip())
    if not _ADDRESS.fullmatch(spec) or ".." in spec or spec.startswith(".") or ".@" in spec:
        raise ValueError(f"{line(text, 100)!r} is no mail address")
    return Address(display_name=_heading(name.strip(' "'), 100), addr_spec=spec)


def letter(message: Message, sender: Address, recipients: tuple[Address, ...], now: datetime) -> EmailMessage:
    """Return the mail: plain text, and HTML beside it where there is a table."""
    mail = EmailMessage(policy=_POLICY)
    mail["Subject"] = _heading(message.subject, MOST_SUBJECT) or "oceanus"
    mail["From"] = sender
    mail["To"] = recipients
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{sha256(message.key.encode(errors='replace')).hexdigest()[:40]}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers to it
    text = clean(message.text)
    if message.table is None or not message.table.columns:
        mail.set_content(text or _NOTHING)
        return mail
    mail.set_content("\n".join([text, "", *columns.lines(message.table)]))
    mail.add_alternative(_page(text, message.table), subtype="html")
    return mail


def _heading(text: str, most: int) -> str:
    """Return one line; `=?` is taken apart, with which encoded words begin: they could hold a line break."""
    return line(line(text, most).replace("=?", "= ?"), most)


def _page(text: str, table: Table) -> str:
    names = "".join(f"<th>{_cell(name)}</th>" for name in table.columns)
    rows = "\n".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head><body>\n'
        f'<p style="white-space: pre-wrap">{html.escape(text)}</p>\n'
        f'<table border="1" cellpadding="4" style="border-collapse: collapse">\n<tr>{names}</tr>\n{rows}\n</table>\n'
        "</body></html>\n"
    )


def _cell(text: str) -> str:
    return html.escape(line(text, MOST_CELL))
