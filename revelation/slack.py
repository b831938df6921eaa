"""Slack as a destination: by an incoming webhook, or by the Web API with a bot's token.

An `ok: false` of the Web API is one of two things: Slack is in trouble, or it will never take this. AGAIN names the
former, which are few and documented; whatever else comes is set aside with its name, for a person.
"""

import json
import logging
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.request import Request

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web import SlackResponse

from oceanus.errors import RefusedError, TellError, TryAgainError
from revelation.blocks import ROOM, Block, blocks, fallback
from revelation.calls import Answer, Caller, checked, host_of, trouble, wait_seconds
from revelation.dialling import Deadline, Dialler
from revelation.telling import Message
from revelation.visible import line

# docs.slack.dev/reference/methods/chat.postMessage, errors that pass by themselves.
AGAIN = frozenset({
    "external_channel_migrating", "fatal_error", "internal_error", "message_limit_exceeded", "org_login_required",
    "rate_limited", "ratelimited", "request_timeout", "service_unavailable", "team_added_to_org",
})  # fmt: skip
# Of these the page says: "It's possible some aspect of the operation succeeded before the error was raised."
UNCLEAR = frozenset({"fatal_error", "internal_error"})
# What a shorter message may be spared; each says that nothing was posted.
TOO_LONG = frozenset({"invalid_blocks", "msg_blocks_too_long", "msg_too_long"})
ROOMS = (ROOM, ROOM // 2, ROOM // 5)

EVENT = "oceanus"
PAGES = 5
PAGE = 100
SKEW_SECONDS = 60  # how far the clocks of Slack and of this machine may be apart
MOST_BYTES = 4 * 1024 * 1024  # a page of history holds PAGE messages with their blocks
_CODE = re.compile(r"[a-z0-9_]{1,60}")
_ID = re.compile(r"[CDG][A-Z0-9]{7,}")
_TOKEN = re.compile(r"[\x21-\x7e]+")


class SlackWebhook:
    """Posts to an incoming webhook; raises ValueError for an address that is none."""

    def __init__(self, url: str, *, seconds: float = 10, context: ssl.SSLContext | None = None) -> None:
        self._url = checked(url)
        self._seconds = seconds
        self._caller = Caller(Dialler(allow_private=True), context=context)

    def tell(self, message: Message) -> None:
        """Post a message; raises TryAgainError or RefusedError."""
        deadline = Deadline(self._seconds)
        for content in _contents(message):
            answer = self._post(content, deadline)
            code = _code(answer.body.decode("utf-8", "replace").strip())
            if answer.status >= 400 and code in TOO_LONG:
                continue
            return self._judge(answer, code)
        raise RefusedError(f"Slack refused it: {code}")

    def _post(self, content: Mapping[str, Any], deadline: Deadline) -> Answer:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "oceanus"}
        return self._caller.post(self._url, headers, json.dumps(content).encode(), deadline)

    def _judge(self, answer: Answer, code: str) -> None:
        error = trouble(host_of(self._url), answer)
        if isinstance(error, RefusedError) and code:
            raise RefusedError(f"{error}, {code}")
        if error:
            raise error
        if answer.body.strip() != b"ok":
            raise TryAgainError(f"{host_of(self._url)} answered {answer.status}, but not as Slack does", unclear=True)


class SlackChannel:
    """Posts to a channel by chat.postMessage; raises ValueError for a token or an address that is none.

    `channel`: its ID or `#name`. By an ID it can also be looked up what was told; a name's ID is known after the first
    message that was taken.
    """

    def __init__(
        self,
        token: str,
        channel: str,
        *,
        base_url: str = "https://slack.com/api/",
        seconds: float = 10,
        context: ssl.SSLContext | None = None,
    ) -> None:
        if not _TOKEN.fullmatch(token):
            raise ValueError("the token must be set, and hold no blanks")
        self._token = token
        self._channel = channel
        self._id = channel if _ID.fullmatch(channel) else ""
        self._base_url = checked(base_url)
        self._seconds = seconds
        self._caller = Caller(Dialler(allow_private=True), context=context, most_bytes=MOST_BYTES)

    def tell(self, message: Message) -> None:
        """Post a message; raises TryAgainError or RefusedError."""
        client = self._client()
        metadata = {"event_type": EVENT, "event_payload": {"key": message.key}}
        for content in _contents(message):
            try:
                answer = client.chat_postMessage(channel=self._channel, metadata=metadata, **content)
            except SlackApiError as exc:
                error = _sorted(exc.response)
                if _code(exc.response.get("error")) not in TOO_LONG:
                    raise error from exc
            else:
                return self._remember(answer)
        raise error

    def was_told(self, key: str, since_us: int) -> bool | None:
        """Look whether the channel holds the message of `key`, posted since then; None where that cannot be known.

        `since_us`: microseconds since 1970. Needs the scope channels:history (groups:history for private channels).
        """
        if not self._id:
            return None
        try:
            return self._look(key, f"{since_us / 1e6 - SKEW_SECONDS:.6f}")
        except (TellError, SlackApiError):
            return None

    def _look(self, key: str, oldest: str) -> bool | None:
        client = self._client()
        cursor = ""
        for _ in range(PAGES):
            page = client.conversations_history(
                channel=self._id, oldest=oldest, inclusive=True, include_all_metadata=True, limit=PAGE, cursor=cursor
            )
            if any(told == key for told in _keys(page.get("messages"))):
                return True
            more: Any = page.get("response_metadata") or {}
            cursor = str(more.get("next_cursor") or "") if isinstance(more, dict) else ""
            if not cursor:
                return None if page.get("has_more") else False
        return None

    def _remember(self, answer: SlackResponse) -> None:
        if isinstance(found := answer.get("channel"), str):
            self._id = found

    def _client(self) -> "_Client":
        return _Client(self._token, self._base_url, self._caller, Deadline(self._seconds))


class _Client(WebClient):
    """slack_sdk's client on our Caller, for one call.

    Its own way of sending follows redirects with the token, and limits neither a whole call's time nor a body's size.
    """

    def __init__(self, token: str, base_url: str, caller: Caller, deadline: Deadline) -> None:
        quiet = logging.Logger("slack_sdk", logging.CRITICAL)  # heard by nobody: it would log answers
        super().__init__(token, base_url=base_url, retry_handlers=[], logger=quiet)
        self._caller = caller
        self._deadline = deadline

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        answer = self._caller.post(url, dict(req.header_items()), cast(bytes, req.data), self._deadline)
        if error := trouble(host_of(url), answer):
            raise error
        _check_object(answer)
        return {"status": answer.status, "headers": dict(answer.headers), "body": answer.body.decode()}


def _contents(message: Message) -> Iterator[dict[str, Any]]:
    """Yield what to post, each shorter than the one before."""
    for room in ROOMS:
        shown: list[Block] = blocks(message, room)
        yield {"text": fallback(message), "blocks": shown, "unfurl_links": False, "unfurl_media": False}


def _sorted(answer: SlackResponse | Mapping[str, Any]) -> TellError:
    """Return what an `ok: false` means."""
    code = _code(answer.get("error"))
    if code in AGAIN:
        headers: Mapping[str, str] = getattr(answer, "headers", {})
        wait = wait_seconds(headers.get("retry-after", ""), time.time())
        return TryAgainError(f"Slack answered {code}", wait, unclear=code in UNCLEAR)
    return RefusedError(f"Slack refused it: {code or 'no word that it knows'}{_detail(answer)}")


def _detail(answer: SlackResponse | Mapping[str, Any]) -> str:
    """Return the scope that is missing, or what is wrong with a block."""
    if isinstance(needed := answer.get("needed"), str):
        return f", needed: {line(needed, 100)}"
    more: Any = answer.get("response_metadata")
    messages = more.get("messages") if isinstance(more, dict) else []
    return f", {line(str(messages[0]), 200)}" if isinstance(messages, list) and messages else ""


def _code(text: object) -> str:
    """Return an error's name, or nothing for what is no name: it may hold anything."""
    return text if isinstance(text, str) and _CODE.fullmatch(text) else ""


def _keys(messages: object) -> Iterator[object]:
    """Yield the keys that we once sent with the messages of a page."""
    for message in messages if isinstance(messages, list) else []:
        metadata = message.get("metadata") if isinstance(message, dict) else None
        if isinstance(metadata, dict) and metadata.get("event_type") == EVENT:
            payload = metadata.get("event_payload")
            yield payload.get("key") if isinstance(payload, dict) else None


def _check_object(answer: Answer) -> None:
    """Raise TryAgainError unless an answer is a whole JSON object in UTF-8; slack_sdk would end in other errors."""
    try:
        value = json.loads(answer.body.decode()) if answer.whole and answer.status == 200 else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TryAgainError(f"Slack answered {answer.status}, but nothing that can be read", unclear=True)
