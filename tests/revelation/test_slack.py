"""revelation.slack and revelation.blocks: limits, what each answer means, and looking up what was told."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block, RichTextBlock, SectionBlock

from oceanus.errors import RefusedError, TryAgainError
from revelation.blocks import BLOCK, ROOM, blocks, fallback, pieces
from revelation.columns import lines
from revelation.slack import SlackChannel, SlackWebhook
from revelation.telling import Message, Table
from revelation.visible import clean
from tests.revelation.places import Asked, How, Place, Reply, closed_port

ANSWERS = Path(__file__).parent / "answers" / "slack"
SECONDS = 2.0
TOKEN = "xoxb-T0PSECRET"
MESSAGE = Message(key="paid:1a2b", text="10000 yen: 東京 &amp; 大阪 🎉", fields={"page": "/cart", "price": "10000"})
SHORT = st.text(st.characters(exclude_categories=()), max_size=20)
LONG = st.builds(lambda text, times: text * times, SHORT, st.sampled_from([1, 1, 20, 150, 1000]))
OK = Reply(body=b"ok")


def answer(name: str, **more: Any) -> Reply:
    return Reply(body=(ANSWERS / f"{name}.json").read_bytes(), **more)


def said(error: str, **more: Any) -> Reply:
    return Reply(body=json.dumps({"ok": False, "error": error}).encode(), **more)


def webhook(place: Place) -> SlackWebhook:
    return SlackWebhook(f"{place.url}/services/T0PSECRET", seconds=SECONDS)


def channel(place: Place, name: str = "C123ABC456") -> SlackChannel:
    return SlackChannel(TOKEN, name, base_url=f"{place.url}/api/", seconds=SECONDS)


def failure(destination: SlackWebhook | SlackChannel, message: Message = MESSAGE) -> TryAgainError | RefusedError:
    began = time.monotonic()
    with pytest.raises((TryAgainError, RefusedError)) as caught:
        destination.tell(message)
    assert time.monotonic() - began < SECONDS + 20
    assert "\n" not in str(caught.value)
    assert "T0PSECRET" not in str(caught.value)
    assert isinstance(caught.value, TryAgainError | RefusedError)
    return caught.value


# --- blocks


def texts(made: list[dict[str, Any]]) -> list[str]:
    """Return every text in blocks."""
    found = []
    for block in made:
        found += [block["text"]["text"]] if "text" in block else []
        found += [field["text"] for field in block.get("fields", [])]
        for element in block.get("elements", []):
            found += [element["text"]] if "text" in element else [part["text"] for part in element["elements"]]
    return found


def check(made: list[dict[str, Any]]) -> None:
    """Hold every limit of Slack's."""
    assert len(made) <= 50
    assert sum(map(len, texts(made))) + BLOCK * len(made) <= ROOM + BLOCK
    for block in made:
        assert len(block.get("text", {}).get("text", "")) <= 3000
        assert 1 <= len(block.get("fields", [0])) <= 10
        assert all(len(field["text"]) <= 2000 for field in block.get("fields", []))
    assert all(text.strip() for text in texts(made))
    json.dumps(made, ensure_ascii=False).encode()
    for parsed in Block.parse_all(made):
        parsed.validate_json()


def test_a_short_message_is_a_section_and_its_fields() -> None:
    assert blocks(MESSAGE) == [
        {"type": "section", "text": {"type": "mrkdwn", "text": "10000 yen: 東京 &amp; 大阪 🎉"}},
        {
            "type": "section",
            "fields": [{"type": "mrkdwn", "text": "*page*\n/cart"}, {"type": "mrkdwn", "text": "*price*\n10000"}],
        },
    ]
    assert fallback(MESSAGE) == MESSAGE.text


def test_a_table_is_preformatted_with_its_columns_below_each_other() -> None:
    table = Table(columns=("dt", "tit", "evt"), rows=(("21:15", "東京", "open"), ("9:00", "x\ny", "")))

    [block] = blocks(Message(key="k", table=table))

    [text] = texts([block])
    assert block["elements"][0]["type"] == "rich_text_preformatted"
    assert text == "dt     tit   evt\n21:15  東京  open\n9:00   x y"


def test_a_table_without_rows_says_so() -> None:
    assert texts(blocks(Message(key="k", table=Table(columns=("dt",), rows=()))))[-1] == "no rows"


def test_rows_that_do_not_fit_are_counted() -> None:
    rows = tuple((f"{index:03}", "x" * 50, "y" * 50) for index in range(150))

    made = blocks(Message(key="k", text="told", table=Table(columns=("a", "b", "c"), rows=rows)))

    check(made)
    shown = sum(f"{index:03}  xxx" in "\n".join(texts(made)) for index in range(150))
    assert 0 < shown < 150
    assert texts(made)[-1] == f"{150 - shown} of 150 rows left out"


def test_a_long_text_is_split_behind_words_and_its_end_is_counted() -> None:
    text = "word " * 4000

    made = blocks(Message(key="k", text=text))

    check(made)
    *parts, note = texts(made)
    kept = "".join(parts)
    assert len(parts) > 2
    assert all(part.endswith(("word ", "…")) for part in parts)
    assert text.startswith(kept.removesuffix("…"))
    assert note == f"{len(text) - len(kept) + 1:,} characters of the text left out"


@pytest.mark.parametrize("piece", ["&amp;", "&lt;", "<https://example.com/a|b>"])
def test_nothing_is_cut_within_an_escape_or_a_link(piece: str) -> None:
    for before in range(len(piece) + 1):
        text = "x" * before + piece * 1000

        for part in pieces(text, 300):
            rest = part.removeprefix("x" * before) if text.startswith(part) else part
            assert len(part) <= 300
            assert rest == piece * (len(rest) // len(piece))


def test_nobody_rings_a_channel() -> None:
    text = "@channel @here @Everyone a@b <!here> @channels"
    made = texts(blocks(Message(key="k", text=text, fields={"who": "@here"})))

    expected = "@\u2060channel @\u2060here @\u2060Everyone a@b <!here> @channels"
    assert made == [expected, "*who*\n@\u2060here"]
    assert fallback(Message(key="k", text=text)) == expected


def test_more_than_ten_fields_go_to_another_section() -> None:
    made = blocks(Message(key="k", fields={str(index): "v" for index in range(25)}))

    check(made)
    assert [len(block["fields"]) for block in made] == [10, 10, 5]


def test_no_room_makes_more_than_fifty_blocks() -> None:
    made = blocks(Message(key="k", fields={str(index): "v" for index in range(1000)}), room=10**6)

    assert (len(made), texts(made)[-1]) == (50, "510 of 1000 fields left out")


@given(
    text=LONG,
    fields=st.dictionaries(SHORT, LONG, max_size=30),
    columns=st.lists(SHORT, max_size=4),
    rows=st.integers(0, 40),
    cell=LONG,
)
def test_no_limit_is_broken_and_nothing_is_lost_without_a_word(
    text: str, fields: dict[str, str], columns: list[str], rows: int, cell: str
) -> None:
    table = Table(columns=tuple(columns), rows=((cell,) * len(columns),) * rows) if columns else None
    message = Message(key="k", text=text, fields=fields, table=table)

    made = blocks(message)

    check(made)
    assert 1 <= len(fallback(message)) <= 4000
    whole = "\n".join(texts(made))
    sections = [block for block in made if "text" in block]
    if "characters of the text left out" not in whole:
        joined = "".join(block["text"]["text"] for block in sections)
        assert "".join(joined.split()) == "".join(clean(text).split())
    if " fields left out" not in whole:
        assert sum(len(block.get("fields", [])) for block in made) == len(fields)
    if table and " rows left out" not in whole and "no rows" not in whole:
        told = sum(text.count("\n") + 1 for block in made if block["type"] == "rich_text" for text in texts([block]))
        assert told == rows + 1 or not "".join(lines(table)).strip()


def test_the_oracle_of_the_sdk_knows_the_limits() -> None:
    parsed = Block.parse_all(blocks(Message(key="k", text="x", table=Table(columns=("a",), rows=(("b",),)))))

    assert [type(block) for block in parsed] == [SectionBlock, RichTextBlock]


# --- the incoming webhook


def test_a_webhook_is_told_and_gets_text_and_blocks() -> None:
    with Place(OK) as place:
        webhook(place).tell(MESSAGE)

    [asked] = place.asked
    assert (asked.method, asked.path) == ("POST", "/services/T0PSECRET")
    assert json.loads(asked.body) == {
        "text": MESSAGE.text, "blocks": blocks(MESSAGE), "unfurl_links": False, "unfurl_media": False
    }  # fmt: skip


@pytest.mark.parametrize("shown", json.loads((ANSWERS / "webhook.json").read_text()), ids=lambda shown: shown["body"])
def test_what_a_webhook_answers(shown: dict[str, Any]) -> None:
    with Place(Reply(status=shown["status"], body=shown["body"].encode())) as place:
        error = failure(webhook(place))

    if shown["status"] == 500:
        assert isinstance(error, TryAgainError)
        assert not error.unclear
    else:
        assert isinstance(error, RefusedError)
        assert shown["body"] in str(error)


def test_a_webhook_that_is_busy_says_until_when() -> None:
    with Place(Reply(status=429, headers={"Retry-After": "30"}, body=b"rate_limited")) as place:
        error = failure(webhook(place))

    assert isinstance(error, TryAgainError)
    assert (error.seconds, error.unclear) == (30, False)


# --- the Web API


def test_a_channel_is_told_with_the_key_as_metadata() -> None:
    with Place(answer("posted")) as place:
        channel(place).tell(MESSAGE)

    [asked] = place.asked
    assert (asked.path, asked.headers["authorization"]) == ("/api/chat.postMessage", f"Bearer {TOKEN}")
    assert json.loads(asked.body) == {
        "channel": "C123ABC456",
        "text": MESSAGE.text,
        "blocks": blocks(MESSAGE),
        "unfurl_links": False,
        "unfurl_media": False,
        "metadata": {"event_type": "oceanus", "event_payload": {"key": "paid:1a2b"}},
    }


@pytest.mark.parametrize(
    "error",
    ["channel_not_found", "not_in_channel", "invalid_auth", "account_inactive", "token_revoked", "missing_scope",
     "msg_too_long", "invalid_blocks", "is_archived", "restricted_action", "too_many_attachments", "never_heard_of"],
)  # fmt: skip
def test_what_slack_will_never_take_is_refused_with_its_word(error: str) -> None:
    with Place(said(error)) as place:
        caught = failure(channel(place))

    assert isinstance(caught, RefusedError)
    assert error in str(caught)


@pytest.mark.parametrize(
    ("error", "unclear"),
    [("ratelimited", False), ("rate_limited", False), ("service_unavailable", False), ("request_timeout", False),
     ("team_added_to_org", False), ("internal_error", True), ("fatal_error", True)],
)  # fmt: skip
def test_trouble_of_slack_is_tried_again(error: str, unclear: bool) -> None:
    with Place(said(error, headers={"Retry-After": "5"})) as place:
        caught = failure(channel(place))

    assert isinstance(caught, TryAgainError)
    assert (caught.unclear, caught.seconds, len(place.asked)) == (unclear, 5, 1)


def test_a_limited_rate_says_until_when_and_is_not_asked_again_here() -> None:
    with Place(answer("ratelimited", status=429, headers={"Retry-After": "30"})) as place:
        error = failure(channel(place))

    assert isinstance(error, TryAgainError)
    assert (error.seconds, error.unclear, len(place.asked)) == (30, False, 1)


def test_the_missing_scope_and_what_is_wrong_with_a_block_are_named() -> None:
    with Place(answer("missing_scope")) as place:
        assert "chat:write:bot" in str(failure(channel(place)))
    with Place(answer("invalid_blocks")) as place:
        assert "no more than 25 items" in str(failure(channel(place)))


@pytest.mark.parametrize("error", ["msg_blocks_too_long", "invalid_blocks"])
def test_a_message_that_is_too_long_after_all_is_told_shorter(error: str) -> None:
    message = Message(key="k", text="word " * 4000)

    with Place(said(error), answer("posted")) as place:
        channel(place).tell(message)
    with Place(Reply(status=400, body=error.encode()), OK) as hook:
        webhook(hook).tell(message)

    for asked in (place.asked, hook.asked):
        sizes = [sum(map(len, texts(json.loads(each.body)["blocks"]))) for each in asked]
        assert sizes[1] < 0.6 * sizes[0]


HOWS: list[How] = ["cut_before", "never", "slow"]


@pytest.mark.parametrize(
    "reply",
    [
        *(Reply(how=how, seconds=3, body=b"ok") for how in HOWS),
        Reply(how="drip", seconds=0.02, body=b"ok" * 100),
        Reply(how="cut_middle", body=b'{"ok": true, "channel": "C1"}'),
        Reply(how="endless", body=b"{" * 65_536),
        Reply(how="raw", body=b"\xff\x00"),
        Reply(body=b""),
        Reply(body=b"<html>we are back soon</html>"),
        Reply(body=b"\xff\xfe"),
        Reply(body=b"[" * 100_000),
        Reply(body=b"1" * 10_000),
        Reply(body=b"[1, 2]"),
        Reply(body=b"null"),
        Reply(status=204),
        Reply(status=201, body=b'{"ok": true}'),
    ],
)
def test_an_answer_that_cannot_be_read_is_unclear(reply: Reply) -> None:
    with Place(reply) as place:
        by_token = failure(channel(place))
    with Place(reply) as place:
        by_webhook = failure(webhook(place))

    assert isinstance(by_token, TryAgainError)
    assert isinstance(by_webhook, TryAgainError)
    assert (by_token.unclear, by_webhook.unclear) == (True, True)


@pytest.mark.parametrize(
    "body", ["{}", '{"ok": false}', '{"ok": false, "error": 7}', '{"ok": false, "error": "a\\nb"}',
             '{"ok": false, "error": ["x"], "needed": 1, "response_metadata": []}',
             '{"ok": false, "error": "x", "response_metadata": {"messages": [{"a": "\\n"}]}}'],
)  # fmt: skip
def test_an_odd_no_is_a_refusal(body: str) -> None:
    with Place(Reply(body=body.encode())) as place:
        assert isinstance(failure(channel(place)), RefusedError)


def test_an_odd_yes_is_told() -> None:
    with Place(Reply(body=b'{"ok": true, "channel": 7}')) as place:
        channel(place).tell(MESSAGE)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_gets_the_token(status: int) -> None:
    with Place() as other, Place(Reply(status=status, headers={"Location": other.url})) as place:
        by_token, by_webhook = failure(channel(place)), failure(webhook(place))

    assert (type(by_token), type(by_webhook), other.asked) == (RefusedError, RefusedError, [])


def test_nothing_was_delivered_where_nobody_listens() -> None:
    url = f"http://127.0.0.1:{closed_port()}"

    for error in (
        failure(SlackWebhook(url, seconds=SECONDS)),
        failure(SlackChannel(TOKEN, "#shop", base_url=url, seconds=SECONDS)),
    ):
        assert isinstance(error, TryAgainError)
        assert not error.unclear


def test_no_proxy_of_the_environment_gets_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with Place() as proxy, Place(answer("posted")) as place:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        channel(place).tell(MESSAGE)

    assert (proxy.asked, len(place.asked)) == ([], 1)


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "slack_sdk")

    with Place(Reply(how="cut_before"), Reply(body=b"garbage"), answer("posted")) as place:
        failure(channel(place))
        failure(channel(place))
        channel(place).tell(MESSAGE)

    assert [record for record in caplog.records if record.name.startswith("slack")] == []


@pytest.mark.parametrize("token", ["", "xoxb 1", "xoxb\r\nX: 1", "トークン"])
def test_what_is_no_token_stops_the_start(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        SlackChannel(token, "#shop")


# --- what was told


def test_a_key_in_the_history_was_told_and_another_was_not() -> None:
    with Place(answer("history_with_metadata")) as place:
        desk = channel(place)

        assert desk.was_told("paid:1a2b", 1_512_085_950_000_000) is True
        assert desk.was_told("paid:ffff", 1_512_085_950_000_000) is False
        assert desk.was_told("not:ours", 1_512_085_950_000_000) is False

    asked = {name: values[0] for name, values in parse_qs(place.asked[0].body.decode()).items()}
    assert place.asked[0].path == "/api/conversations.history"
    assert asked["channel"] == "C123ABC456"
    assert asked["include_all_metadata"] == "1"
    assert asked["oldest"] == "1512085890.000000"


def test_the_history_is_read_page_by_page() -> None:
    with Place(answer("history"), answer("history_with_metadata")) as place:
        assert channel(place).was_told("paid:1a2b", 0) is True

    second = parse_qs(place.asked[1].body.decode())
    assert second["cursor"] == ["bmV4dF90czoxNTEyMDg1ODYxMDAwNTQz"]


def test_a_history_without_an_end_is_left() -> None:
    with Place(answer("history")) as place:
        assert channel(place).was_told("paid:1a2b", 0) is None

    assert len(place.asked) == 5


@pytest.mark.parametrize(
    "reply",
    [answer("missing_scope"), Reply(how="cut_before"), Reply(how="never"), Reply(status=503), Reply(status=302),
     Reply(body=b"garbage"), said("channel_not_found"), Reply(body=b'{"ok": true, "has_more": true}')],
)  # fmt: skip
def test_what_cannot_be_looked_up_is_not_known(reply: Reply) -> None:
    with Place(reply) as place:
        assert channel(place).was_told("paid:1a2b", 0) is None


@pytest.mark.parametrize(
    "body", ['"messages": 7', '"messages": [7, {"metadata": 7}, {"metadata": {"event_type": "oceanus"}}]',
             '"messages": [{"metadata": {"event_type": "oceanus", "event_payload": [1]}}], "response_metadata": 7'],
)  # fmt: skip
def test_an_odd_history_holds_no_key(body: str) -> None:
    with Place(Reply(body=f'{{"ok": true, {body}}}'.encode())) as place:
        assert channel(place).was_told("paid:1a2b", 0) is False


def test_a_channels_name_can_be_looked_up_after_its_first_message() -> None:
    def slack(asked: Asked) -> Reply:
        return answer("posted" if asked.path.endswith("postMessage") else "history_with_metadata")

    with Place(slack) as place:
        desk = channel(place, "#shop")
        before = desk.was_told("paid:1a2b", 0)
        desk.tell(MESSAGE)
        after = desk.was_told("paid:1a2b", 0)

    assert (before, after) == (None, True)
