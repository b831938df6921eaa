"""Texts: templates become messages; no field acts at its destination, and no template hurts the process."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus.errors import RefusedError, TellError, TryAgainError
from revelation import harmless
from revelation.rendering import Renderer
from revelation.telling import Message, Table
from revelation.texts import Texts
from tests.revelation.tellings import RECORD, SITES, telling

KINDS = ("slack", "sheets", "mail", "webhook", "print")
# Whatever a visitor may send, and more: half surrogate pairs cannot even be stored.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
SLACK_WORDS = (
    "<!channel>",
    "<!here|x>",
    "<@U123>",
    "<#C1>",
    "<https://a|b>",
    "@here",
    "@Channel",
    "&lt;!here>",
    "!here",
)
SLACK_TEXT = st.lists(st.sampled_from(SLACK_WORDS) | ANY_TEXT, max_size=4).map("".join)
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ONE_CALL = "{{ [['a' * 10**6] * 9999] * 9999 == [['a' * 10**6] * 9999] * 9999 }}"  # which no handler interrupts
SLACK_ACTS = re.compile(r"<[!@#]|@(here|channel|everyone|group)", re.IGNORECASE)


@pytest.fixture(name="texts", scope="module")
def _texts() -> Iterator[Texts]:
    made = Texts(SITES)
    yield made
    made.close()


def text(texts: Texts, source: str, kind: str = "print", **fields: object) -> str:
    """Return what a text becomes."""
    return texts.message(telling({"text": source}, fields), kind).text


def refusal(texts: Texts, action: dict[str, object], kind: str = "print") -> str:
    """Return the reason for which a telling is refused."""
    with pytest.raises(RefusedError) as caught:
        texts.message(telling(action), kind)
    return str(caught.value)


# --- what templates know


@pytest.mark.parametrize(
    ("source", "made"),
    {
        "{{ tit }} at {{ url }}": "Thank you at https://shop.example.com/paid",
        "{{ jsn.price }} {{ jsn.kwd }}": "12000 shoes",
        "{{ jsn.items.0.sku }}": "A1",  # a member, though Python's dict has a method of that name
        "{{ jsn }}": RECORD["jsn"],
        "{% if jsn.price > 10000 %}much{% endif %}": "much",
        "{% for one in jsn['items'] %}{{ one.sku }}{% endfor %}": "A1",
        "{{ site }} {{ rule }} {{ eid }} {{ count }}": f"bizocean paid {RECORD['eid']} 3",
        "{{ dt | local }}": "2026-11-23 00:30:03",
        "{{ dt | local('%H:%M') }}": "00:30",
        "{{ tit | local }}{{ missing | local }}": "Thank you",
        "[{{ missing }}{{ missing.one.two }}{{ jsn.nothing.at.all }}]": "[]",
        "{{ jsn.price > 5 }} {{ none }} {{ 1.5 }}": "true  1.5",
        "two\nlines\n": "two\nlines\n",
        "": "",
    }.items(),
)
def test_a_template_knows_the_record_and_the_rule(texts: Texts, source: str, made: str) -> None:
    assert text(texts, source) == made


@pytest.mark.parametrize("jsn", ["{broken", "", "[1,2", '{"a":NaN}', "\ud800"])
def test_json_that_cannot_be_read_stays_a_text(texts: Texts, jsn: str) -> None:
    assert text(texts, "{{ jsn }}{{ jsn.kwd }}", jsn=jsn) == harmless.line(jsn)


@pytest.mark.parametrize("jsn", [None, 5, True, ["x"]])
def test_a_field_of_an_odd_kind_stops_nothing(texts: Texts, jsn: object) -> None:
    assert text(texts, "[{{ jsn.kwd }}]", jsn=jsn) == "[]"


def test_only_fields_that_hold_json_are_read_as_such(texts: Texts) -> None:
    assert text(texts, "{{ tit }}", tit="[1,  2]") == "[1,  2]"


def test_a_field_cannot_hide_what_the_rule_says(texts: Texts) -> None:
    assert text(texts, "{{ rule }}", rule="another") == "paid"


# --- members of a message


def test_each_kind_gets_its_members_filled_in(texts: Texts) -> None:
    slack = texts.message(telling({"text": "{{ tit }}", "fields": {"price": "{{ jsn.price }}"}}), "slack")
    mail = texts.message(telling({"subject": "{{ tit }}", "text": "{{ url }}"}), "mail")

    assert slack == Message(key="key", text="Thank you", fields={"price": "12000"})
    assert mail == Message(key="key", subject="Thank you", text="https://shop.example.com/paid")


def test_a_sheet_s_row_has_numbers_and_texts_and_its_worksheet_the_record_s_time(texts: Texts) -> None:
    row = {"time": "{{ dt | local }}", "price": "{{ jsn.price }}", "page": "{{ url }}"}

    message = texts.message(telling({"worksheet": "paid_%Y-%m-%d", "row": row}), "sheets")

    assert message.worksheet == "paid_2026-11-23"
    assert message.row == {"time": "2026-11-23 00:30:03", "price": 12000, "page": RECORD["url"]}


@pytest.mark.parametrize(
    ("pattern", "made"),
    {
        "a/b:[c]*?\\d": "a-b--c----d",
        "%d/%m": "23-11",
        "x" * 300: "x" * 100,
        " ": "paid",
        "'s": "s",
        "{{ x }}": "{{ x }}",
    }.items(),
)
def test_a_worksheet_s_name_is_one_that_sheets_takes(texts: Texts, pattern: str, made: str) -> None:
    assert texts.message(telling({"worksheet": pattern, "row": {}}), "sheets").worksheet == made


def test_a_telling_about_no_record_has_the_time_it_was_made(texts: Texts) -> None:
    silent = telling({"worksheet": "%Y-%m-%d", "row": {"rule": "{{ rule }} {{ dt }}"}}, {"dt": None})

    message = texts.message(silent, "sheets")

    assert (message.worksheet, message.row) == ("2026-11-23", {"rule": "paid "})


def test_a_web_hook_gets_its_body_or_the_whole_record(texts: Texts) -> None:
    body = texts.message(telling({"body": {"title": "{{ tit }}"}}, {"tit": 'a "<b>"\n'}), "webhook").body
    whole = texts.message(telling({}, {"tit": "\ud800"}), "webhook").body

    record = {name: value for name, value in RECORD.items() if name != "v"}
    assert body == {"title": 'a "<b>"\n'}
    assert whole == record | {
        "tit": "\ufffd",
        "jsn": {"items": [{"sku": "A1"}], "kwd": "shoes", "price": 12000},
        "rule": "paid",
        "site": "bizocean",
        "count": 3,
    }


def test_json_too_deep_to_be_written_again_stays_a_text(texts: Texts) -> None:
    deep = "[" * 400 + "]" * 400

    assert texts.message(telling({}, {"jsn": deep}), "webhook").body["jsn"] == deep


def test_a_table_s_cells_are_lines_and_are_escaped_by_what_shows_them(texts: Texts) -> None:
    table = Table(columns=("tit",), rows=(("<!here>\n\x07",),))

    message = texts.message(telling({"text": ""}), "slack", table)

    assert message.table == Table(columns=("tit",), rows=(("<!here> ",),))


# --- no field acts


@pytest.mark.parametrize("source", ["{{ tit }}", "{{ tit | safe }}", "{{ tit | escape | replace('&lt;', '<') }}"])
def test_markup_in_a_field_shows_as_text_in_slack(texts: Texts, source: str) -> None:
    made = text(texts, source, "slack", tit="<!channel> a")

    assert made == "&lt;!channel&gt; a" if "escape" not in source else "<" not in made


def test_jinja_s_own_escaping_opens_nothing(texts: Texts) -> None:
    source = "{% autoescape true %}{{ tit | safe }}{% endautoescape %}"

    assert "<" not in text(texts, source, "slack", tit="<!channel> a")


def test_an_author_may_mention_and_link(texts: Texts) -> None:
    source = "<!here> <@U1> @channel <{{ url }}|page & more>"

    assert text(texts, source, "slack") == "<!here> <@U1> @channel <https://shop.example.com/paid|page & more>"


@pytest.mark.parametrize(
    ("source", "field", "made"),
    [
        ("<{{ tit }}|page>", "!channel", "&lt;!channel|page>"),
        ("<{{ tit }}>", "@U1", "&lt;@U1>"),
        ("@{{ tit }}", "here", "@\u2060here"),
        ("{{ tit }}", "@Everyone", "@\u2060Everyone"),
        ("<!{{ tit }}>", "here", "&lt;!here>"),
    ],
)
def test_no_field_completes_a_mention(texts: Texts, source: str, field: str, made: str) -> None:
    assert text(texts, source, "slack", tit=field) == made


@given(
    SLACK_TEXT, st.sampled_from(["{{ tit }}", "<{{ tit }}|x>", "{{ tit }}{{ tit }}", "{{ tit|safe }}", "@{{ tit }}"])
)
def test_whatever_a_field_holds_slack_finds_no_mention_in_it(texts: Texts, field: str, source: str) -> None:
    made = text(texts, source, "slack", tit=field)

    assert not SLACK_ACTS.search(made)
    assert "<" not in made or source.startswith("<")


def test_a_mail_s_subject_is_one_line_without_control_characters(texts: Texts) -> None:
    field = "a\r\nBcc: x@example.com\x00\x1b[31m\u202eb\u2028c"

    message = texts.message(telling({"subject": "{{ tit }}\nx", "text": "{{ tit }}"}, {"tit": field}), "mail")

    assert message.subject == "a Bcc: x@example.com[31mb c x"
    assert message.text == "a\nBcc: x@example.com[31mb\nc"


def test_a_printed_field_makes_no_line_of_its_own(texts: Texts) -> None:
    assert text(texts, "a\n{{ tit }}", tit="b\nERROR forged\x1b[2J") == "a\nb ERROR forged[2J"


@pytest.mark.parametrize(
    ("field", "cell"),
    {
        "12": 12, "-12": -12, "0": 0, "1.50": 1.5, "-0.25": -0.25, "999999999999999": 999999999999999,
        "0123": "0123", "1234567890123456": "1234567890123456", "1e5": "1e5", "1,000": "1,000", "１２": "１２",
        "1.": "1.", "=1+1": "'=1+1", "+81 90": "'+81 90", "-x": "'-x", "@SUM(1)": "'@SUM(1)", " =1": "' =1",
        "＝1": "'＝1", "\t=1": "'\t=1", "\x00=1": "'=1", "a=b": "a=b", "'quoted": "'quoted", "": "",
        "a\r\nb": "a\nb", "\r=1": "'\n=1",
    }.items(),
)  # fmt: skip
def test_a_cell_is_a_number_or_a_text_that_no_program_takes_for_a_formula(
    texts: Texts, field: str, cell: str | int | float
) -> None:
    row = texts.message(telling({"worksheet": "w", "row": {"c": "{{ tit }}"}}, {"tit": field}), "sheets").row

    assert row == {"c": cell}
    assert type(row["c"]) is type(cell)


@given(st.integers(-(10**15) + 1, 10**15 - 1) | st.decimals(-9999, 9999, places=4))
def test_a_number_comes_back_from_a_cell_as_it_was(number: object) -> None:
    cell = harmless.cell(f"{number:f}" if not isinstance(number, int) else str(number))

    assert isinstance(cell, int | float)
    assert float(cell) == float(number)  # type: ignore[arg-type]


@given(ANY_TEXT)
def test_a_cell_that_is_no_number_keeps_its_text_and_begins_no_formula(field: str) -> None:
    cell = harmless.cell(harmless.people(field))

    if isinstance(cell, str):
        assert cell.removeprefix("'") == harmless.people(field).removeprefix("'")
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "field",
    ["😀👍🏽", "مرحبا بالعالم", "日本語のページ", "é" * 10, "x" * 10_000, "👨‍👩‍👧"],
    ids=lambda field: field[:4],
)
def test_letters_of_all_people_pass(texts: Texts, kind: str, field: str) -> None:
    assert text(texts, "{{ tit }}", kind, tit=field) == field


# --- no template hurts


@pytest.mark.parametrize(
    ("source", "reason"),
    {
        "{{ x": "unexpected end of template",
        "{% include 'x' %}": "no loader",
        "{{ 1/0 }}": "ZeroDivisionError",
        "{{ missing + 1 }}": "'missing' is undefined",
        "{{ tit | nofilter }}": "No filter named 'nofilter'",
        "{{ 'a' * 30000 }}": "is longer than 20,000 characters",
        "{% for a in range(99999) %}{{ tit }}{% endfor %}": "is longer than 20,000 characters",
        "{{ 'a' * 10**9 }}": "MemoryError",
        "{{ '%999999999d' % 1 }}": "MemoryError",
        "{{ '{:>999999999}'.format(1) }}": "MemoryError",
        "{{ range(10**9) | list }}": "OverflowError",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "RecursionError",
        LOOP: "takes longer than 1 s",
        ONE_CALL: "takes longer than 1 s",
        "{% filter upper %}{{ tit }}{% endfilter %}": "is not taken here",
        "{% call tit.format() %}{% endcall %}": "is not taken here",
        "{{ jsn.update({'a': 1}) }}": "SecurityError",
    }.items(),
)
def test_a_template_that_fails_is_refused_with_its_name_and_the_next_message_works(
    texts: Texts, source: str, reason: str
) -> None:
    said = refusal(texts, {"subject": "{{ tit }}", "text": source}, "mail")

    assert said.startswith("text: ")
    assert reason in said
    assert "\n" not in said
    assert text(texts, "{{ tit }}") == "Thank you"


def test_a_refusal_names_the_member_of_a_row_and_no_visitor_s_text(texts: Texts) -> None:
    said = refusal(
        texts, {"worksheet": "w", "row": {"a": "{{ tit }}", "price.yen": "{{ uid | tojson | int(base=99) }}{{ 1/0 }}"}}
    )

    assert said == "row.price.yen: ZeroDivisionError: division by zero" or said == "row.price.yen: ValueError"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ range.__subclasses__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ tit | attr('__class__') }}",
        "{{ [tit] | map(attribute='__class__') | list }}",
        "{{ '{0.__class__}'.format(tit) }}",
        "{{ (tit | attr('format'))('{0.__class__}') }}",
        "{{ dict.mro() }}",
        "{{ cycler }}{{ lipsum }}",
    ],
)
def test_nothing_of_python_can_be_reached(texts: Texts, source: str) -> None:
    with contextlib.suppress(RefusedError):
        assert "class" not in text(texts, source)


@pytest.mark.parametrize("kind", KINDS)
@given(field=ANY_TEXT, name=st.sampled_from(["tit", "jsn", "dt", "site", "range", "self", "loop", "_", "class"]))
def test_no_record_makes_message_raise(texts: Texts, kind: str, field: str, name: str) -> None:
    action = {
        "text": "{{ tit }}{{ jsn.a.b }}{{ dt|local }}",
        "subject": "{{ url }}",
        "worksheet": "%Y",
        "row": {"a": "{{ tit }}"},
    }

    message = texts.message(telling(action, {name: field}), kind)

    message.text.encode()
    message.subject.encode()


@given(
    source=st.text(max_size=30)
    | st.lists(
        st.sampled_from(
            [
                "{{",
                "}}",
                "{%",
                "%}",
                "tit",
                "|",
                "for",
                "in",
                "if",
                "(",
                ")",
                " ",
                "'",
                "1",
                "*",
                "~",
                "[",
                "]",
                "endfor",
                "local",
            ]
        ),
        max_size=12,
    ).map(" ".join)
)
def test_no_template_makes_message_raise_anything_but_ours(texts: Texts, source: str) -> None:
    with contextlib.suppress(TellError):
        assert len(text(texts, source)) <= 20_000


@pytest.mark.parametrize("changed", [{"zone": "No/Where"}, {"zone": "../etc"}])
def test_a_zone_that_is_none_is_refused(texts: Texts, changed: dict[str, str]) -> None:
    with pytest.raises(RefusedError):
        texts.message(telling({"text": "{{ dt|local }}"}, **changed), "print")


def test_a_kind_that_is_none_is_refused(texts: Texts) -> None:
    assert "'fax' is no kind" in refusal(texts, {"text": ""}, "fax")


# --- the child processes


def test_a_template_that_takes_its_time_holds_no_other_message_up(texts: Texts) -> None:
    with ThreadPoolExecutor(max_workers=1) as slow:
        refused = slow.submit(refusal, texts, {"text": LOOP})
        made = [text(texts, "{{ tit }}") for _ in range(20)]
        was_running = not refused.done()

    assert made == ["Thank you"] * 20
    assert was_running
    assert refused.result() == "text: takes longer than 1 s"


def test_many_threads_get_each_its_own_text(texts: Texts) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        made = list(pool.map(lambda number: text(texts, "{{ tit }}", tit=f"n{number}"), range(200)))

    assert made == [f"n{number}" for number in range(200)]


def test_a_machine_that_is_too_busy_is_no_fault_of_the_template() -> None:
    texts = Texts(SITES, Renderer(wait_seconds=0.2))
    with contextlib.suppress(TryAgainError):
        text(texts, "{{ tit }}")  # starts the children

    with pytest.raises(TryAgainError, match=r"does not answer within 0\.2 s"):
        text(texts, LOOP)

    texts.close()


def children(pid: int | str = "self") -> set[int]:
    """Return the processes below one, but for the tests' servers."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                found |= {int(child)} | children(child)
    return found


def workers(pid: int | str = "self") -> set[int]:
    """Return the renderer's children: those below the fork server."""
    return {child for server in children(pid) for child in children(server)}


def is_running(pid: int) -> bool:
    """Say whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids: set[int], seconds: float = 20) -> None:
    """Return when none of these processes runs."""
    deadline = time.monotonic() + seconds
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, f"{pids} still run"
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
def test_a_killed_child_is_replaced_and_close_ends_all() -> None:
    before = workers()
    texts = Texts(SITES, Renderer(workers=1))
    assert text(texts, "{{ tit }}") == "Thank you"
    (child,) = workers() - before

    os.kill(child, signal.SIGKILL)
    wait_until_gone({child})

    assert text(texts, "{{ tit }}") == "Thank you"
    own = workers() - before
    texts.close()
    wait_until_gone(own)
    with pytest.raises(TryAgainError):
        text(texts, "{{ tit }}")


PARENT = """
import sys
from tests.revelation.tellings import SITES, telling
from revelation.texts import Texts
if __name__ == "__main__":
    texts = Texts(SITES)
    print(texts.message(telling({"text": "ready"}), "print").text, flush=True)
    texts.message(telling({"text": sys.argv[1]}), "print")
    sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    "source",
    ["idle", LOOP, ONE_CALL],
    ids=["idle", "looping", "in one long call"],
)
def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path, source: str) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    environ = {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[2]), *sys.path))}
    with subprocess.Popen(
        [sys.executable, program, source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        below = children(parent.pid)
        assert len(below) >= 3

        parent.kill()

        wait_until_gone(below)
