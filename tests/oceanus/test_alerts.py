"""What is kept in Redis about alerts: the same answer for what is seen again, limits that hold, nothing forgotten."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oceanus import alerts as book
from oceanus.alerts import Alerts, Begun, Held, Match, Rate
from oceanus.spool import connect

NOW_MS = 1_795_000_000_000


@pytest.fixture
def alerts(redis_server):
    return Alerts(connect(redis_server.settings))


def match(number: int, rule: str = "r", ms: int | None = None, **decides: object) -> Match:
    received_ms = NOW_MS + number if ms is None else ms
    return Match(match=f"{rule}:{number}", rule=rule, eid=str(number), received_ms=received_ms, **decides)


def counting(number: int, ms: int, more_than: int = 2, key: str = "r") -> Match:
    return match(number, ms=ms, counting=(key, more_than, 1000))


def test_what_nothing_limits_is_told(alerts):
    assert alerts.decide([match(1), match(2)]) == [1, 1]
    assert alerts.decide([]) == []


def test_a_record_that_is_seen_again_gets_the_same_answer_and_counts_once(alerts):
    limits = (Rate(key="r", most=2),)
    some = [match(number, rates=limits) for number in range(3)]

    first, again = alerts.decide(some), alerts.decide(some)

    assert first == again == [1, 1, None]
    assert [one.count for one in alerts.close_held(0)] == [1]


def test_once_tells_the_same_key_once_and_says_nothing_of_the_others(alerts):
    some = [match(number, once=(f"r:{number % 2}", 60_000)) for number in range(4)]

    assert alerts.decide(some) == [1, 1, None, None]
    assert alerts.close_held(0) == []


def test_a_limit_holds_back_what_is_beyond_it_until_the_minute_is_over(alerts):
    some = [match(number, rates=(Rate(key="r", most=5), Rate(key="all", most=100))) for number in range(1000)]

    told = alerts.decide(some)
    early = alerts.close_held()
    [held] = alerts.close_held(0)

    assert sum(one is not None for one in told) == 5
    assert early == []
    assert (held.rule, held.count) == ("r", 995)
    assert alerts.close_held(0) == [held]
    alerts.forget_held(held)
    assert alerts.close_held(0) == []


def test_the_limit_over_all_rules_counts_messages_and_lets_no_rule_starve_for_ever(alerts):
    """A rule that tells two places makes two messages; one that tells more than the limit allows may tell alone."""
    two, many = (Rate(key="all", most=3, weight=2),), (Rate(key="other", most=1, weight=9),)

    assert alerts.decide([match(1, rates=two), match(2, rates=two), match(3, rates=many), match(4, rates=many)]) == [
        1,
        None,
        1,
        None,
    ]


def test_a_limit_of_each_value_lets_the_others_through(alerts):
    some = [match(number, rates=(Rate(key=f"r:rad:{number % 2}", most=1),)) for number in range(4)]

    assert alerts.decide(some) == [1, 1, None, None]


def test_more_than_so_many_within_the_window_are_told_once(alerts):
    some = [counting(number, ms=NOW_MS + 100 * number) for number in range(6)]

    assert alerts.decide(some) == [None, None, 3, None, None, None]
    assert alerts.decide(some) == [None, None, 3, None, None, None]


def test_after_the_window_it_is_told_again(alerts):
    some = [counting(number, ms=NOW_MS + 100 * number) for number in range(14)]

    assert [place for place, told in enumerate(alerts.decide(some)) if told] == [2, 12]


def test_a_backlog_is_counted_by_when_it_was_received(alerts):
    """Three records that came an hour apart are no three in a second, however late they are looked at."""
    assert alerts.decide([counting(number, ms=NOW_MS + 3_600_000 * number) for number in range(9)]) == [None] * 9


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40, unique=True).map(sorted), st.integers(0, 4))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_told_exactly_when_more_than_so_many_lie_in_the_window(redis_server, times, more_than):
    redis_server.client().flushall()
    alerts = Alerts(connect(redis_server.settings))
    expected, fired = [], -(10**9)
    for place, now in enumerate(times):
        count = sum(now - 1000 < one <= now for one in times[: place + 1])
        is_told = count > more_than and now >= fired + 1000
        fired = now if is_told else fired
        expected.append(is_told)

    told = alerts.decide([counting(n, ms=NOW_MS + ms, more_than=more_than) for n, ms in enumerate(times)])

    assert [one is not None for one in told] == expected


def test_no_burst_makes_a_count_large(alerts, redis_server):
    alerts.decide([counting(number, ms=NOW_MS + number % 7, more_than=20) for number in range(500)])

    assert redis_server.client().zcard(f"{book.PREFIX}count:r") == 21


def test_values_beyond_the_cap_share_one_group(alerts, redis_server, monkeypatch):
    """A visitor who sends ever new values must not fill Redis."""
    monkeypatch.setattr(book, "GROUPS_CAP", 2)
    once = [match(number, once=(f"r:{number}", 60_000)) for number in range(9)]
    counts = [counting(10 + number, ms=NOW_MS + number, key=f"r:{number}") for number in range(9)]

    told, counted = alerts.decide(once), alerts.decide(counts)

    assert told == [1, 1, 1, *[None] * 6]
    assert counted == [None] * 4 + [3, *[None] * 4]
    keys = {name.decode().removeprefix(book.PREFIX) for name in redis_server.client().keys(f"{book.PREFIX}*")}
    assert {name for name in keys if name.startswith(("once:", "count:"))} == {
        f"{kind}:r:{value}" for kind in ("once", "count") for value in ("0", "1", "(others)")
    }


def test_a_known_value_keeps_its_group_and_groups_end_with_their_window(alerts, redis_server, monkeypatch):
    monkeypatch.setattr(book, "GROUPS_CAP", 1)
    alerts.decide([match(number, once=(f"r:{number}", 60_000)) for number in range(3)])

    assert alerts.decide([match(5, once=("r:0", 60_000))]) == [None]
    assert redis_server.client().smembers(f"{book.PREFIX}groups:once:r") == {b"r:0"}
    assert 0 < redis_server.client().pttl(f"{book.PREFIX}groups:once:r") <= 60_000


def test_a_rule_without_by_has_no_groups(alerts, redis_server):
    alerts.decide([match(1, once=("r", 60_000)), counting(2, ms=NOW_MS)])

    assert redis_server.client().keys(f"{book.PREFIX}groups:*") == []


def test_drops_are_set_apart_until_they_are_told_by_one(alerts, redis_server):
    redis_server.client().set("oceanus:{shop}:alerts:dropped", 12)
    first = alerts.dropped("shop")
    redis_server.client().incrby("oceanus:{shop}:alerts:dropped", 5)
    beside = alerts.dropped("shop")
    forgotten = [alerts.forget_dropped("shop", *first), alerts.forget_dropped("shop", *beside)]
    later = alerts.dropped("shop")
    late = alerts.forget_dropped("shop", *first)

    assert first == beside == (0, 12)
    assert forgotten == [True, False]
    assert later == alerts.dropped("shop") == (12, 17)
    assert not late


def test_a_count_of_drops_that_begins_anew_is_told_from_there(alerts, redis_server):
    redis_server.client().set("oceanus:{shop}:alerts:dropped", 12)
    alerts.forget_dropped("shop", *alerts.dropped("shop"))
    redis_server.client().set("oceanus:{shop}:alerts:dropped", 2)
    anew = alerts.dropped("shop")
    redis_server.client().set("oceanus:{shop}:alerts:dropped", 5)

    assert (anew, alerts.dropped("shop")) == (None, (2, 5))


def test_what_waits_counts_the_list_and_its_claims(alerts, redis_server):
    client = redis_server.client()
    client.lpush("oceanus:{shop}:alerts", "old", "new")
    client.sadd("oceanus:{shop}:alerts:workers", "w")
    client.lpush("oceanus:{shop}:alerts:claim:w", "older", "old too")

    assert alerts.waiting("shop") == (4, [b"old", b"older"])
    assert alerts.waiting("mail") == (0, [])


def test_a_telling_is_begun_by_one_at_a_time_and_delivered_once(alerts):
    first, beside = alerts.begin("k", "a", 7), alerts.begin("k", "b", 8)
    alerts.end("k", "a", told=True)

    assert (first.state, beside.state, alerts.begin("k", "b", 9).state) == ("FIRST", "BUSY", "TOLD")


def test_after_an_unclear_try_it_is_looked_up_since_that_one_and_after_a_clear_one_not(alerts):
    for name in ("unclear", "clear"):
        alerts.begin(name, "a", 7)
        alerts.end(name, "a", unclear=name == "unclear")

    assert alerts.begin("unclear", "a", 8) == Begun(state="AGAIN", since_us=7)
    assert alerts.begin("clear", "a", 8) == Begun(state="FIRST", since_us=8)


def test_a_process_that_died_amid_a_delivery_leaves_it_unclear(alerts, redis_server):
    alerts.begin("k", "dead", 7)
    redis_server.client().delete(f"{book.PREFIX}doing:k")

    assert alerts.begin("k", "next", 8) == Begun(state="AGAIN", since_us=7)


def test_one_whose_time_is_over_ends_and_renews_nothing_of_the_next(alerts, redis_server):
    alerts.begin("k", "slow", 7)
    redis_server.client().delete(f"{book.PREFIX}doing:k")
    alerts.begin("k", "next", 8)
    alerts.end("k", "slow")

    assert (alerts.renew("k", "slow"), alerts.renew("k", "next")) == (False, True)
    assert alerts.begin("k", "third", 9).state == "BUSY"
    alerts.end("k", "next", unclear=True)
    assert alerts.begin("k", "third", 9) == Begun(state="AGAIN", since_us=7)


def test_a_place_that_asks_for_quiet_gets_it(alerts):
    alerts.pause("desk", 30)

    assert 29_000 < alerts.paused_ms("desk") <= 30_000
    assert alerts.paused_ms("other") == 0


def test_a_row_waits_once_and_the_first_one_is_to_be_taken_there(alerts):
    added = [alerts.add_row("book", "paid", key, f"row {key}", NOW_MS) for key in ("a", "b", "a")]
    waiting = alerts.rows("book", "paid", 9)
    later = alerts.add_row("book", "paid", "c", "row c", NOW_MS)
    alerts.forget_rows("book", "paid", ["a", "b"], told=True)

    assert added == [True, False, False]
    assert waiting == {"a": "row a", "b": "row b"}
    assert later
    assert alerts.rows("book", "paid", 9) == {"c": "row c"}
    assert not alerts.add_row("book", "paid", "a", "row a", NOW_MS)


def test_the_oldest_rows_are_taken_first_and_no_more_than_asked_for(alerts):
    for number in (3, 1, 2):
        alerts.add_row("book", "paid", str(number), "row", NOW_MS + number)

    first = list(alerts.rows("book", "paid", 2))
    alerts.forget_rows("book", "paid", first, told=False)

    assert first == ["1", "2"]
    assert list(alerts.rows("book", "paid", 2)) == ["3"]


def test_rows_that_nobody_takes_to_their_sheet_are_found_once(alerts, redis_server):
    for sheet in ("paid", "held", "busy", "done"):
        alerts.add_row("book", sheet, sheet, "row", NOW_MS)
        alerts.rows("book", sheet, 1)
    alerts.hold_flush("book", "held")
    alerts.begin("book:busy", "somebody", 7)
    alerts.forget_rows("book", "done", ["done"], told=True)

    assert (alerts.unflushed(), alerts.unflushed()) == ([("book", "paid")], [])
    alerts.forget_rows("book", "paid", ["paid"], told=True)
    assert redis_server.client().smembers(f"{book.PREFIX}sheets") == {b"book:held", b"book:busy"}


def test_a_row_may_stand_there_from_the_try_until_it_is_told_or_the_failure_was_clear(alerts):
    alerts.note_tries(["told", "clear", "unclear", "aside"], 7)
    alerts.forget_tries(["clear"])
    alerts.forget_rows("book", "paid", ["told"], told=True)
    alerts.forget_rows("book", "paid", ["aside"], told=False)

    assert alerts.tried(["told", "clear", "unclear", "aside", "never"]) == {"unclear", "aside"}


def test_a_dead_letter_is_listed_and_tried_once_more_when_a_person_wants_it(alerts):
    kept = alerts.fail({"key": "k", "rule": "r"}, "no such channel", 7)
    [letter] = alerts.failed()
    retried = alerts.retry(["k", "unknown"])
    [(raw, telling)] = alerts.again()
    alerts.forget_again(raw)

    assert kept
    assert (letter.telling, letter.reason, letter.at_us) == ({"key": "k", "rule": "r"}, "no such channel", 7)
    assert (retried, telling) == (1, {"key": "k", "rule": "r"})
    assert alerts.failed() == alerts.again() == []


def test_so_many_dead_letters_are_kept_and_no_more(alerts, monkeypatch):
    monkeypatch.setattr(book, "FAILED_CAP", 2)

    assert [alerts.fail({"key": key}, "why", 1) for key in ("a", "b", "c", "a")] == [True, True, False, True]


def test_silence_is_measured_from_the_last_match_or_from_the_first_look(alerts):
    first = alerts.seen(["quiet"], NOW_MS)
    alerts.saw({"quiet": NOW_MS + 5})
    alerts.saw({"quiet": NOW_MS + 2})

    assert first == {"quiet": NOW_MS}
    assert alerts.seen(["quiet"], NOW_MS + 99) == {"quiet": NOW_MS + 5}


def test_a_rule_that_nobody_asks_about_any_more_is_forgotten(alerts):
    alerts.seen(["quiet", "other"], NOW_MS)
    alerts.told_silence("quiet", NOW_MS)
    alerts.seen(["other"], NOW_MS + 1)

    assert alerts.seen(["quiet", "other"], NOW_MS + 9) == {"quiet": NOW_MS + 9, "other": NOW_MS}
    assert alerts.told_silence("quiet") == 0


def test_what_was_held_back_of_a_rule_with_odd_letters_comes_back(alerts):
    alerts.decide([match(number, rule="über uns", rates=(Rate(key="x", most=1),)) for number in range(3)])

    [held] = alerts.close_held(0)

    assert held == Held(rule="über uns", since_ms=held.since_ms, count=2)
