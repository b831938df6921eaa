"""alerts.yaml is read as docs/alerts.md says; each mistake in it is one line that names file, place and remedy."""

import dataclasses
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanus import sites
from oceanus.errors import MisconfiguredError
from oceanus.sites import Sites
from revelation import rules
from revelation.conditions import always
from revelation.rules import Counting, Limits, Place, Rules
from revelation.seen import Seen

TOP = Path(__file__).parents[2]
SAMPLE = sites.load(str(sites.SAMPLE))
SITES = sites.parse("""
shapes:
  shop:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      sid: {from: query}
      rad: {from: address}
      evt: {from: query}
      url: {from: query}
      jsn: {from: query, normal: [json], type: JSON}
  blog:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      sid: {from: query}
      evt: {from: query}
      page: {from: query}
sites:
  shop: {method: swallow, shape: shop, alerts: true, unknown: rest}
  blog: {method: swallow, shape: blog, alerts: true}
  quiet: {method: swallow, shape: blog}
""")
DESTINATIONS = """
destinations:
  desk: {kind: slack, channel: "#shop", token: SLACK_BOT_TOKEN}
  hook: {kind: slack, webhook: SLACK_WEBHOOK_URL}
  book: {kind: sheets, spreadsheet: 1AbCdEf}
  sheet: {kind: sheets}
  people: {kind: mail, to: [shop@example.com], from: oceanus@example.com}
  crm: {kind: webhook, url: "https://crm.example.com/oceanus", secret: CRM_SECRET}
  log: {kind: print}
"""
PRINT = "tell: [{to: log, text: paid}]"


def parsed(text: str) -> Rules:
    return rules.parse(text, SITES)


def mistakes(text: str) -> list[str]:
    with pytest.raises(MisconfiguredError) as caught:
        rules.parse(text, SITES, "my.yaml")
    return caught.value.mistakes


def with_rule(body: str, name: str = "paid") -> str:
    return f"{DESTINATIONS}\nrules:\n  {name}: {{{body}}}\n"


def with_tell(entry: str) -> str:
    return with_rule(f"sites: [shop], tell: [{entry}]")


def with_history(body: str) -> str:
    return with_tell(f"{{to: desk, text: x, history: {{{body}}}}}")


def with_destination(body: str) -> str:
    return f"destinations:\n  one: {body}\n  log: {{kind: print}}\nrules: {{paid: {{sites: [shop], {PRINT}}}}}\n"


# --- what is read


def test_the_page_s_example_is_read_as_it_says():
    page = (TOP / "docs" / "alerts.md").read_text(encoding="utf-8")
    example = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]

    read = rules.parse(example, with_alerts(SAMPLE))

    paid = read.rules["paid"]
    assert (read.zone, read.a_minute) == (ZoneInfo("Asia/Tokyo"), 60)
    assert {place.name: place.kind for place in read.places.values()} == {
        "desk": "slack",
        "hook": "slack",
        "book": "sheets",
        "people": "mail",
        "crm": "webhook",
        "log": "print",
    }
    assert [entry["to"] for entry in paid.tell] == ["desk", "book"]
    assert paid.tell[1]["worksheet"] == "paid_%Y-%m"
    assert paid.matches(Seen({"evt": "paid", "jsn": '{"price":10000}'}, "bizocean"))
    assert not paid.matches(Seen({"evt": "paid", "jsn": '{"price":9999}'}, "bizocean"))


def test_what_a_rule_leaves_out_has_a_default():
    read = parsed(with_rule(f"sites: [shop, blog], {PRINT}"))

    paid = read.rules["paid"]
    assert (read.zone, read.a_minute) == (ZoneInfo("UTC"), 60)
    assert paid == rules.Rule(
        name="paid", sites=("shop", "blog"), matches=always, tell=({"to": "log", "text": "paid"},), limits=Limits()
    )
    assert read.by_site == {"shop": (paid,), "blog": (paid,)}
    assert read.places["log"] == Place(name="log", kind="print", options={})


def test_a_changed_condition_is_known_by_what_is_written():
    first, same, other = (
        parsed(with_rule(f"sites: [shop], when: {{evt: {value}}}, {PRINT}")).rules["paid"].when
        for value in ("paid", "'paid'", "refunded")
    )

    assert first == same != other


def test_counting_silence_and_limits_are_read_in_seconds():
    text = with_rule(f"sites: [shop], count: {{more_than: 20, minutes: 5, by: rad}}, {PRINT}")
    text += f"  calm: {{sites: [shop], silence: {{hours: 2}}, {PRINT}}}\n"
    limits = "{once: {seconds: 60, by: jsn.id}, a_minute: 6, a_minute_each: {rad: 5}}"
    text += f"  few: {{sites: [shop], limits: {limits}, {PRINT}}}\n"

    read = parsed(text).rules

    assert read["paid"].counting == Counting(more_than=20, seconds=300, by="rad")
    assert (read["calm"].counting, read["calm"].silence_seconds) == (None, 7200)
    assert read["few"].limits == Limits(once_seconds=60, once_by="jsn.id", a_minute=6, a_minute_each={"rad": 5})


def test_the_variables_that_used_destinations_need_are_named_with_them():
    entries = (
        "{to: desk, text: x}, {to: sheet, worksheet: x, row: {a: x}}, {to: book, worksheet: x, row: {a: x}}, {to: crm}"
    )
    text = with_tell(entries) + "  again: {sites: [shop], tell: [{to: hook, text: x}, {to: desk, text: x}]}\n"

    assert rules.variables(parsed(text)) == {
        "SLACK_BOT_TOKEN": ("desk",),
        "SLACK_WEBHOOK_URL": ("hook",),
        "SPREAD_SHEET_KEY": ("sheet",),
        "CRM_SECRET": ("crm",),
    }
    assert rules.variables(parsed(with_tell("{to: log, text: x}"))) == {}


GOOD_TELL = [
    "{to: log, text: \"{{ evt | upper }} {{ jsn.price }} {{ dt | local('%H') }}\"}",
    '{to: log, text: "{{ site }} {{ rule }} {{ eid }} {{ count }}"}',
    '{to: log, text: "{% for one in jsn.items %}{{ loop.index }} {{ one.sku }}{% endfor %}"}',
    '{to: log, text: "{% set total = jsn.a + 1 %}{{ total }} {{ rest.utm }} {{ range(3) | join }}"}',
    '{to: log, text: "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(evt) }}"}',
    '{to: desk, text: x, fields: {url: "{{ url }}", empty: ""}}',
    "{to: desk, text: x, history: {by: sid, columns: [dt, eid, rest]}}",
    "{to: people, subject: x, text: x, history: {by: sid, site: quiet, days: 31, after_seconds: 0, columns: [page]}}",
    '{to: book, worksheet: "日報 %Y-%m-%d 100%%", row: {時刻: "{{ dt | local }}", b: ""}}',
    '{to: crm, body: {id: "{{ eid }}"}}',
    "{to: crm}",
]


@pytest.mark.parametrize("entry", GOOD_TELL)
def test_an_entry_of_tell_is_kept_as_it_is_written(entry):
    assert parsed(with_tell(entry)).rules["paid"].tell == (yaml.safe_load(entry),)


GOOD_DESTINATIONS = [
    "{kind: webhook, url: 'http://127.0.0.1:8080/x'}",
    "{kind: webhook, url: 'http://[::1]/x'}",
    "{kind: webhook, url: 'http://localhost:8080'}",
    "{kind: webhook, url: 'https://example.com:8443/a?b=c'}",
    "{kind: slack, channel: C0123456, token: T}",
    "{kind: mail, to: [a@b, o'neil+x@mail.example.com], from: a@b}",
]


@pytest.mark.parametrize("body", GOOD_DESTINATIONS)
def test_a_destination_is_kept_as_it_is_written(body):
    written = yaml.safe_load(body)

    options = {key: value for key, value in written.items() if key != "kind"}
    assert parsed(with_destination(body)).places["one"] == Place(name="one", kind=written["kind"], options=options)


# --- mistakes

RULE_MISTAKES = {
    f"{PRINT}": "sites: None must be a list of sites, such as [shop]",
    f"sites: shop, {PRINT}": "sites: 'shop' must be a list of sites, such as [shop]",
    f"sites: [], {PRINT}": "sites: [] must be a list of sites",
    f"sites: [shop, shop], {PRINT}": "sites: ['shop', 'shop'] names a site twice",
    f"sites: [market], {PRINT}": "sites: 'market' is not in sites.yaml; known: shop, blog, quiet",
    f"sites: [quiet], {PRINT}": "sites: quiet has no alerts: set alerts: true for it in sites.yaml",
    f"sites: [shop], colour: red, {PRINT}": "'colour' is not known here; known: count, limits,",
    f"sites: [shop], when: {{evnt: a}}, {PRINT}": ", when: 'evnt' is no field of shop; known: dt, evt, jsn, rad, rest,",
    f"sites: [shop, blog], when: {{url: a}}, {PRINT}": ", when: 'url' is no field of blog; known: dt, evt, sid, site",
    f"sites: [shop], when: {{evt.a: a}}, {PRINT}": ", when: 'evt.a': evt holds no JSON at shop",
    f"sites: [shop], when: {{evt: {{matches: '('}}}}, {PRINT}": ", when: evt: matches: RE2 does not take '('",
    f"sites: [shop], when: , {PRINT}": ", when: must be a mapping such as {evt: paid}, not None",
    f"sites: [shop], count: {{minutes: 5}}, {PRINT}": ", count: more_than: must be a whole number from 0 to 100000,",
    f"sites: [shop], count: {{more_than: -1, minutes: 5}}, {PRINT}": ", count: more_than: must be a whole number",
    f"sites: [shop], count: {{more_than: 1}}, {PRINT}": ", count: needs one of seconds, minutes, hours",
    f"sites: [shop], count: {{more_than: 1, hours: 1, minutes: 2}}, {PRINT}": ", count: needs one of seconds, minutes,",
    f"sites: [shop], count: {{more_than: 1, hours: 25}}, {PRINT}": ", count: hours: must be a whole number from 1 to",
    f"sites: [shop], count: {{more_than: 1, hours: 1, by: tel}}, {PRINT}": ", count, by: 'tel' is no field of shop",
    f"sites: [shop], silence: {{minutes: 0}}, {PRINT}": ", silence: minutes: must be a whole number from 1 to 1440,",
    f"sites: [shop], silence: {{minutes: true}}, {PRINT}": ", silence: minutes: must be a whole number from 1 to 1440,",
    f"sites: [shop], silence: {{minutes: 1, by: sid}}, {PRINT}": ", silence: 'by' is not known here; known: hours,",
    f"sites: [shop], count: {{more_than: 1, hours: 1}}, silence: {{hours: 1}}, {PRINT}": "count and silence together",
    f"sites: [shop], limits: {{a_day: 5}}, {PRINT}": ", limits: 'a_day' is not known here; known: a_minute,",
    f"sites: [shop], limits: {{a_minute: 0}}, {PRINT}": ", limits: a_minute: must be a whole number from 1 to 10000,",
    f"sites: [shop], limits: {{a_minute_each: {{rad: many}}}}, {PRINT}": ", limits, a_minute_each: rad: must be a",
    f"sites: [shop], limits: {{a_minute_each: {{tel: 5}}}}, {PRINT}": ", limits, a_minute_each: 'tel' is no field of",
    f"sites: [shop], limits: {{once: {{by: sid}}}}, {PRINT}": ", limits, once: needs one of seconds, minutes, hours",
    f"sites: [shop], limits: {{once: {{hours: 1, by: tel}}}}, {PRINT}": ", limits, once, by: 'tel' is no field of shop",
    "sites: [shop]": "tell: must be a list of what is told to whom",
    "sites: [shop], tell: {to: log, text: x}": "tell: must be a list of what is told to whom",
    "sites: [shop], tell: [log]": ", tell: must be a mapping (key: value), not 'log'",
    "sites: [shop], tell: [{text: x}]": ", tell: to: None is not among the destinations; known: desk, hook, book,",
    "sites: [shop], tell: [{to: [log], text: x}]": ", tell: to: ['log'] is not among the destinations",
    "sites: [shop], tell: [{to: log, text: x}, {to: me}]": ", tell 2: to: 'me' is not among the destinations",
    "sites: [shop], silence: {hours: 1}, tell: [{to: desk, text: x, history: {by: sid, columns: [dt]}}]": (
        ", tell, history: a rule of silence has no visitor"
    ),
}
TELL_MISTAKES = {
    "{to: log}": ": text: is missing; print needs text",
    "{to: people, text: x}": ": subject: is missing; mail needs subject, text",
    "{to: book, worksheet: x}": ": row: is missing; sheets needs row, worksheet",
    "{to: log, text: x, history: {by: sid, columns: [dt]}}": ": 'history' is not known here; known: text, to",
    "{to: crm, text: x}": ": 'text' is not known here; known: body, to",
    "{to: log, text: ''}": ", text: is empty: write what is to be told",
    "{to: log, text: 5}": ", text: 5 must be a text: put it into quotes",
    "{to: log, text: '{{ evt'}": ", text: is no template of Jinja2: unexpected end of template",
    "{to: log, text: '{% if evt %}'}": ", text: is no template of Jinja2: Unexpected end of template.",
    "{to: log, text: '{{ evnt }}'}": ", text: uses 'evnt', which no record has; known: count, dt, eid, evt, jsn,",
    "{to: log, text: '{{ evt | shout }}'}": ", text: uses 'shout', which is no filter or test of Jinja2, nor local",
    "{to: log, text: '{{ evt is odder }}'}": ", text: uses 'odder', which is no filter or test of Jinja2, nor local",
    "{to: log, text: '{% include evt %}'}": ", text: cannot include or extend another template: there is none",
    f"{{to: log, text: '{'x' * 20_001}'}}": ", text: has 20001 characters; a template has at most 20000",
    "{to: people, subject: '{{', text: x}": ", subject: is no template of Jinja2:",
    "{to: desk, text: x, fields: [a]}": ", fields: must be a mapping (key: value), not ['a']",
    "{to: desk, text: x, fields: {a: 5}}": ", fields, a: 5 must be a text: put it into quotes",
    "{to: desk, text: x, fields: {5: a}}": ", fields: 5 must be a text: put it into quotes",
    "{to: crm, body: {}}": ", body: is empty: write names and texts",
    "{to: book, worksheet: x, row: {a: '{{ b }}'}}": ", row, a: uses 'b', which no record has;",
    "{to: book, worksheet: x, row: }": ", row: is empty: write names and texts",
    "{to: book, worksheet: 2026, row: {a: b}}": ", worksheet: 2026 must be a text such as paid_%Y-%m",
    "{to: book, worksheet: ' ', row: {a: b}}": ", worksheet: ' ' must be a text such as paid_%Y-%m",
    "{to: book, worksheet: '{{ evt }}', row: {a: b}}": ", worksheet: '{{ evt }}' is no template",
    "{to: book, worksheet: 'a_%Q', row: {a: b}}": ", worksheet: 'a_%Q' has %Q, which is no code of strftime",
    "{to: book, worksheet: 'a%', row: {a: b}}": ", worksheet: 'a%' has %, which is no code of strftime",
    "{to: book, worksheet: '%Y/%m', row: {a: b}}": ", worksheet: '%Y/%m' makes '2026/11', and no worksheet's name may",
    "{to: book, worksheet: 'at %X', row: {a: b}}": ", worksheet: 'at %X' makes 'at 21:15:03', and no worksheet's name",
    f"{{to: book, worksheet: {'a' * 101}, row: {{a: b}}}}": f", worksheet: '{'a' * 101}' makes 101 characters;",
}
HISTORY_MISTAKES = {
    "columns: [dt]": ": by: is missing; choose one of sid, uid",
    "by: rad, columns: [dt]": ": by: 'rad' is not known; choose one of sid, uid",
    "by: uid, columns: [dt]": ": 'uid' is no column of shop; known: dt, sid, rad, evt, url, jsn, rest, eid",
    "by: sid": ": columns: must be a list of columns, such as [dt, evt, url]",
    "by: sid, columns: []": ": columns: must be a list of columns",
    "by: sid, columns: [jsn.a]": ": 'jsn.a' is no column of shop",
    "by: sid, columns: [url], site: blog": ": 'url' is no column of blog; known: dt, sid, evt, page, eid",
    "by: sid, columns: [dt], site: market": ": site: 'market' is not in sites.yaml; known: shop, blog, quiet",
    "by: sid, columns: [dt], days: 32": ": days: must be a whole number from 1 to 31, not 32",
    "by: sid, columns: [dt], rows: 0": ": rows: must be a whole number from 1 to 1000, not 0",
    "by: sid, columns: [dt], rows: 1.5": ": rows: must be a whole number from 1 to 1000, not 1.5",
    "by: sid, columns: [dt], after_seconds: 3601": ": after_seconds: must be a whole number from 0 to 3600, not 3601",
    "by: sid, columns: [dt], hours: 2": ": 'hours' is not known here; known: after_seconds, by, columns,",
}
SECRET = "must be the name of an environment variable, such as SLACK_BOT_TOKEN, not the secret itself"
URL = "url: must be an address such as https://crm.example.com/oceanus; http is for this machine alone"
DESTINATION_MISTAKES = {
    "print": "must be a mapping such as {kind: print}",
    "{}": "kind: is missing; choose one of slack, sheets, mail, webhook, print",
    "{kind: fax}": "kind: 'fax' is not known; choose one of slack, sheets, mail, webhook, print",
    "{kind: print, to: x}": "'to' is not known here; known: kind",
    "{kind: slack}": "needs either channel and token, or webhook alone",
    "{kind: slack, channel: a, token: A, webhook: B}": "needs either channel and token, or webhook alone",
    "{kind: slack, channel: a, webhook: B}": "channel: a webhook has its channel already",
    "{kind: slack, token: A}": 'channel: must be a channel in quotes, such as "#shop"',
    "{kind: slack, channel: '#a', token: xoxb-1234-secret}": f"token: {SECRET}",
    "{kind: slack, webhook: 'https://hooks.slack.com/secret'}": f"webhook: {SECRET}",
    "{kind: sheets, spreadsheet: 'https://docs.google.com/x'}": "spreadsheet: must be a spreadsheet's key",
    "{kind: sheets, spreadsheet: 5}": "spreadsheet: must be a spreadsheet's key",
    "{kind: mail, to: a@b, from: a@b}": "to: must be a list of 1 to 50 mail addresses, such as [shop@example.com]",
    "{kind: mail, to: [], from: a@b}": "to: must be a list of 1 to 50 mail addresses",
    "{kind: mail, to: [shop], from: a@b}": "to: must be a list of 1 to 50 mail addresses",
    '{kind: mail, to: ["a@b\\nBcc: c@d"], from: a@b}': "to: must be a list of 1 to 50 mail addresses",
    "{kind: mail, to: [a@b]}": "from: must be a mail address, such as oceanus@example.com",
    "{kind: mail, to: [a@b], from: 'Shop <a@b>'}": "from: must be a mail address",
    "{kind: webhook}": URL,
    "{kind: webhook, url: 'http://crm.example.com/secret'}": URL,
    "{kind: webhook, url: 'ftp://crm.example.com'}": URL,
    "{kind: webhook, url: 'https:///x'}": URL,
    "{kind: webhook, url: 'https://a b'}": URL,
    "{kind: webhook, url: 'https://a:99999/'}": URL,
    "{kind: webhook, url: 'https://[a/'}": URL,
    "{kind: webhook, url: 'http://127.0.0.1.example.com/'}": URL,
    "{kind: webhook, url: 'https://me:secret@example.com/'}": "url: has a user or password in it",
    "{kind: webhook, url: 'https://a/', secret: s3cret}": f"secret: {SECRET}",
}
WHOLE_MISTAKES = {
    "": "my.yaml: rules: is empty: write at least one rule",
    "[]": "my.yaml: must be a mapping (key: value), not []",
    "a: [": "my.yaml: is not YAML: ",
    "rules: {a: 1}\nrules: {b: 2}": "my.yaml: is not YAML: 'rules' is given twice",
    "colour: red\nrules: {}": "my.yaml: 'colour' is not known here; known: destinations, limits, rules, time_zone",
    f"time_zone: Mars/Olympus\n{with_tell('{to: log, text: x}')}": "my.yaml: time_zone: 'Mars/Olympus' is not known",
    f"time_zone: /etc/passwd\n{with_tell('{to: log, text: x}')}": "my.yaml: time_zone: '/etc/passwd' is not known",
    f"time_zone: America\n{with_tell('{to: log, text: x}')}": "my.yaml: time_zone: 'America' is not known",
    f"time_zone: 9\n{with_tell('{to: log, text: x}')}": "my.yaml: time_zone: 9 is not known",
    f"limits: {{a_minute: 0}}\n{with_tell('{to: log, text: x}')}": "my.yaml: limits: a_minute: must be a whole number",
    f"limits: {{once: 0}}\n{with_tell('{to: log, text: x}')}": "my.yaml: limits: 'once' is not known here",
    with_rule(f"sites: [shop], {PRINT}", "all"): "my.yaml: rule all: this name is taken: all",
    with_rule(f"sites: [shop], {PRINT}", "Paid"): "my.yaml: rule Paid: a name is small letters, digits, _ and -,",
    with_rule(
        f"sites: [shop], {PRINT}", '"a\\n\\n  b"'
    ): "my.yaml: rule a b: a name is small letters, digits, _ and -,",
    with_rule(f"sites: [shop], {PRINT}", "5"): "my.yaml: rule 5: a name is small letters, digits, _ and -,",
}


@pytest.mark.parametrize("body", RULE_MISTAKES)
def test_a_mistake_in_a_rule_is_one_line_with_file_rule_and_remedy(body):
    found = mistakes(with_rule(body))

    assert len(found) == 1
    assert found[0].removeprefix("my.yaml: rule paid").removeprefix(": ").startswith(RULE_MISTAKES[body])


@pytest.mark.parametrize("entry", TELL_MISTAKES)
def test_a_mistake_in_what_is_told_is_one_line_with_its_place(entry):
    found = mistakes(with_tell(entry))

    assert len(found) == 1
    assert found[0].startswith(f"my.yaml: rule paid, tell{TELL_MISTAKES[entry]}")


@pytest.mark.parametrize("body", HISTORY_MISTAKES)
def test_a_mistake_in_a_history_is_one_line_with_its_place(body):
    found = mistakes(with_history(body))

    assert len(found) == 1
    assert found[0].startswith(f"my.yaml: rule paid, tell, history{HISTORY_MISTAKES[body]}")


@pytest.mark.parametrize("body", DESTINATION_MISTAKES)
def test_a_mistake_in_a_destination_is_one_line_and_tells_no_secret(body):
    found = mistakes(with_destination(body))

    assert len(found) == 1
    assert found[0].startswith(f"my.yaml: destination one: {DESTINATION_MISTAKES[body]}")
    assert not re.search(r"xoxb|//hooks|s3cret|me:|/secret", found[0])


@pytest.mark.parametrize("text", WHOLE_MISTAKES)
def test_a_mistake_in_the_file_s_frame_is_one_line(text):
    found = mistakes(text)

    assert len(found) == 1
    assert found[0].startswith(WHOLE_MISTAKES[text])


def test_all_mistakes_are_told_at_once_and_none_for_another_s_sake():
    text = "destinations: {one: {kind: fax}, two: {kind: mail}}\nrules:\n"
    text += "  a: {sites: [market], when: {anything: 1}, tell: [{to: one, what: x}]}\n"
    text += "  b: {sites: [shop], when: {anything: 1}, tell: [{to: three, text: '{{ evnt }}'}]}\n"

    assert [line.split(": ")[1] for line in mistakes(text)] == [
        "destination one",
        "destination two",
        "destination two",
        "rule a",
        "rule b, when",
        "rule b, tell",
    ]


def test_a_file_that_cannot_be_read_is_one_line_that_names_the_variable(tmp_path):
    missing = tmp_path / "none.yaml"

    with pytest.raises(MisconfiguredError) as caught:
        rules.load(str(missing), SITES)

    assert len(caught.value.mistakes) == 1
    assert caught.value.mistakes[0].startswith(f"{missing}: cannot be read: ")
    assert caught.value.mistakes[0].endswith("set ALERTS_FILE to your alerts.yaml")


@pytest.mark.parametrize(
    "text", ["{{ " + "(" * 2000, "{{ a" + ".a" * 5000 + " }}", "{{ " + "9" * 5000 + " }}", "{{ '\\ud800' }}"]
)
def test_a_template_that_jinja_cannot_read_is_a_mistake_or_harmless(text):
    written = yaml.safe_dump({"tell": [{"to": "log", "text": text}], "sites": ["shop"]}, default_flow_style=True)

    try:
        parsed(with_rule(written.strip()[1:-1]))
    except MisconfiguredError as exc:
        [told] = exc.mistakes
    else:
        told = "rule paid, tell, text: nothing"

    assert "rule paid, tell, text: " in told


WORDS = [
    "shop",
    "blog",
    "quiet",
    "log",
    "desk",
    "kind",
    "print",
    "evt",
    "evt.a",
    "jsn.a",
    "sid",
    "{{ evt }}",
    "{{",
    "%Y",
    "%",
]
KEYS = [
    "sites",
    "when",
    "count",
    "silence",
    "limits",
    "tell",
    "to",
    "text",
    "row",
    "worksheet",
    "history",
    "by",
    "columns",
]
KEYS += [
    "seconds",
    "minutes",
    "more_than",
    "once",
    "a_minute",
    "a_minute_each",
    "any",
    "not",
    "url",
    "site",
    "days",
    "fields",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda deeper: (
        st.lists(deeper, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS + WORDS) | st.none() | st.text(max_size=3), deeper, max_size=4)
    ),
)


def never_raises_anything_else(document: Any) -> None:
    told = ["alerts.yaml: nothing"]
    try:
        parsed(document if isinstance(document, str) else yaml.safe_dump(document, allow_unicode=True))
    except MisconfiguredError as exc:
        told = exc.mistakes
    assert told
    assert all(len(line.splitlines()) == 1 and line.startswith("alerts.yaml: ") for line in told)


@settings(max_examples=200)
@given(DOCUMENTS | st.text(max_size=60))
def test_any_text_is_rules_or_a_list_of_mistakes(document):
    never_raises_anything_else(document)


@settings(max_examples=300)
@given(value=DOCUMENTS, key=st.sampled_from(["sites", "when", "count", "silence", "limits", "tell"]))
def test_any_value_in_a_rule_is_taken_or_a_mistake(value, key):
    document = yaml.safe_load(with_tell("{to: log, text: x}"))
    document["rules"]["paid"][key] = value

    never_raises_anything_else(document)


@settings(max_examples=300)
@given(
    value=DOCUMENTS,
    to=st.sampled_from(["desk", "book", "people", "crm", "log"]),
    key=st.sampled_from(["to", "text", "subject", "worksheet", "row", "fields", "body", "history"]),
)
def test_any_value_in_what_is_told_is_taken_or_a_mistake(value, to, key):
    document = yaml.safe_load(with_tell("{to: log, text: x}"))
    document["rules"]["paid"]["tell"] = [{"to": to, key: value}]

    never_raises_anything_else(document)


@settings(max_examples=300)
@given(
    value=DOCUMENTS,
    kind=st.sampled_from(["slack", "sheets", "mail", "webhook", "print"]) | DOCUMENTS,
    key=st.sampled_from(["channel", "token", "webhook", "spreadsheet", "to", "from", "url", "secret"]),
)
def test_any_value_in_a_destination_is_taken_or_a_mistake(value, kind, key):
    document = yaml.safe_load(with_tell("{to: log, text: x}"))
    document["destinations"]["one"] = {"kind": kind, key: value}

    never_raises_anything_else(document)


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000,
        "&a [*a]",
        "rules: &a {a: *a}",
        "? [1]\n: 2",
        "rules: {a: {sites: [shop], when: &b {not: *b}}}",
    ],
)
def test_odd_yaml_is_a_list_of_mistakes(text):
    assert mistakes(text)


# --- the sample, and the rules of the original


def with_alerts(declared: Sites) -> Sites:
    return Sites([dataclasses.replace(site, alerts=True) for site in declared.values()])


def test_the_sample_needs_no_account_and_tells_of_payments_and_errors():
    read = rules.load(rules.SAMPLE, SAMPLE)

    told = {evt: matching(read, "bizocean", {"evt": evt}) for evt in ("pageview", "paid", "js_error")}
    assert {place.kind for place in read.places.values()} == {"print"}
    assert rules.variables(read) == {}
    assert told == {"pageview": [], "paid": ["paid"], "js_error": ["error"]}


ORIGINAL = rules.load(str(TOP / "tests" / "revelation" / "original.yaml"), with_alerts(SAMPLE))


def matching(read: Rules, site: str, record: dict[str, Any]) -> list[str]:
    return [rule.name for rule in read.by_site.get(site, ()) if rule.matches(Seen(record, site))]


@pytest.mark.parametrize(
    ("site", "evt", "told"),
    [
        ("bizocean", "search_not_found", ["not_found"]),
        ("bizocean", "paid", ["paid"]),
        ("bizocean", "error", ["error"]),
        ("bizocean", "payment_error_3", ["error"]),
        ("bizocean", "prepaid", []),
        ("bizocean", "pageview", []),
        ("bizocean", "search_not_found_2", []),
        ("bizpow", "paid", []),
        ("movieform", None, ["movie"]),
        ("docreq", None, ["docreq", "docreq_mail"]),
        ("namecard", None, []),
    ],
)
def test_the_original_s_rules_are_true_of_the_records_that_they_were_true_of(site, evt, told):
    assert matching(ORIGINAL, site, {"evt": evt} if evt else {"cname": "x"}) == told


def test_the_original_s_rules_tell_the_same_places_as_often():
    by_place = {rule.name: [entry["to"] for entry in rule.tell] for rule in ORIGINAL.rules.values()}
    worksheets = {entry["worksheet"] for rule in ORIGINAL.rules.values() for entry in rule.tell if "worksheet" in entry}

    assert ORIGINAL.zone == ZoneInfo("Asia/Tokyo")
    assert by_place.pop("docreq_mail") == ["people"]
    assert by_place == {name: ["book"] for name in ("not_found", "paid", "error", "movie", "docreq")}
    assert worksheets == {"not_found_%Y-%m", "paid_%Y-%m", "error_%Y-%m", "movie_%Y-%m", "docreq"}
    assert ORIGINAL.rules["docreq"].limits == Limits()
    assert ORIGINAL.rules["docreq_mail"].limits == Limits(
        once_seconds=60, once_by="sid", a_minute=6, a_minute_each={"rad": 6}
    )
    assert rules.variables(ORIGINAL) == {"SPREAD_SHEET_KEY": ("book",), "SMTP_HOST": ("people",)}
