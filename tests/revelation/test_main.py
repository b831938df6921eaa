"""revelation as a process: what it tells, how it takes up new rules, and that a kill makes nobody be told twice."""

import json
import subprocess
import sys

import pytest

from tests.conftest import RedisProcess, end
from tests.told.stage import Arms, Stage, a_record

PAID = "  paid: {sites: [shop], when: {evt: paid}, tell: [{to: desk, text: '{{ url }}'}]}\n"


@pytest.fixture
def stage(tmp_path, _redis_of_the_session):
    (tmp_path / "redis").mkdir()
    redis = RedisProcess(tmp_path / "redis")
    stage = Stage(tmp_path, redis, PAID)
    yield stage
    stage.close()
    end(redis.process)


def paid(number: int, **fields: object) -> dict[str, object]:
    return a_record(number, evt="paid", **fields)


def url(number: int) -> str:
    return f"https://shop.example/{number}"


def test_what_matches_is_told_once_and_all_is_seen(stage):
    stage.start()
    arms = Arms(stage.redis)

    arms.push([paid(1), a_record(2), paid(3)])

    stage.until(lambda: len(stage.slack.heard) == 2, "both are told")
    assert stage.slack.times() == {url(1): 1, url(3): 1}
    assert stage.metrics()['oceanus_alerts_seen_total{site="shop"}'] == 3
    assert stage.stop() == 0


def test_what_came_while_it_was_away_is_told_when_it_is_back(stage):
    arms = Arms(stage.redis)
    arms.push([paid(number) for number in range(30)])

    stage.start()

    stage.until(lambda: len(stage.slack.times()) == 30, "all is told")
    assert set(stage.slack.times().values()) == {1}


@pytest.fixture
def another(tmp_path, _redis_of_the_session):
    (tmp_path / "another").mkdir()
    redis = RedisProcess(tmp_path / "another")
    yield redis
    end(redis.process)


def test_of_a_site_in_another_redis_it_tells_at_once_and_of_what_lies_where_it_lived_before(stage, another):
    stage.start(REDIS_SHARDS=f"shop=127.0.0.1:{another.port}")

    Arms(another).push([paid(1)])
    Arms(stage.redis).push([paid(2)])
    stage.until(lambda: len(stage.slack.heard) == 2, "both are told")
    another.kill()
    Arms(stage.redis).push([paid(3)])

    stage.until(lambda: len(stage.slack.heard) == 3, "one Redis that is away holds up no other")
    assert stage.slack.times() == {url(1): 1, url(2): 1, url(3): 1}
    assert stage.stop() == 0


def test_new_rules_are_taken_up_and_bad_ones_are_told_and_left_alone(stage):
    stage.start()
    arms = Arms(stage.redis)

    stage.write("  paid: {sites: [shop], when: {evt: 7up")
    stage.hang_up()
    stage.until(lambda: "the rules stay as they were" in stage.log(), "the mistake is told")
    arms.push([paid(1)])
    stage.until(lambda: stage.slack.times()[url(1)] == 1, "the old rule tells")
    stage.write("  gone: {sites: [shop], when: {evt: refund}, tell: [{to: desk, text: 'back {{ url }}'}]}\n")
    stage.until(lambda: "is read anew" in stage.log(), "the new rules are read")
    arms.push([paid(2), a_record(3, evt="refund")])
    stage.until(lambda: stage.slack.times()[f"back {url(3)}"] == 1, "the new rule tells")

    assert stage.slack.times()[url(2)] == 0


def test_a_destination_that_is_away_gets_each_message_once_when_it_is_back(stage):
    stage.slack.away = True
    stage.start()
    arms = Arms(stage.redis)
    arms.push([paid(number) for number in range(10)])
    tries = "oceanus_alerts_retries_total{"
    stage.until(
        lambda: sum(count for name, count in stage.metrics().items() if name.startswith(tries)) >= 10, "it is tried"
    )

    stage.slack.away = False

    stage.until(lambda: len(stage.slack.times()) == 10, "all is told")
    assert set(stage.slack.times().values()) == {1}


def test_killed_amid_its_work_it_tells_each_match_once(stage):
    stage.start()
    arms = Arms(stage.redis)
    for first in range(0, 60, 20):
        arms.push([paid(number) for number in range(first, first + 20)])
        stage.until(lambda first=first: len(stage.slack.times()) > first + 5, "it is amid it")
        stage.kill()
        stage.start()

    stage.until(lambda: len(stage.slack.times()) == 60, "all is told", 120)
    assert set(stage.slack.times().values()) == {1}


def test_a_mistake_in_the_rules_or_a_secret_that_is_not_set_stops_the_start_with_a_line(stage, tmp_path):
    stage.write(PAID.replace("shop", "shoe"))

    with pytest.raises(AssertionError, match=r"revelation: .*alerts.yaml: rule paid: sites: .*shoe"):
        stage.start()
    stage.write(PAID)
    with pytest.raises(
        AssertionError, match=r"revelation: TOKEN is not set: the destination desk of alerts.yaml needs it"
    ):
        stage.start(TOKEN="")


def test_a_trial_shows_what_would_be_told_and_sends_it_when_asked(stage, tmp_path):
    stage.start()
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"evt": "paid", "url": "https://a/<b>", "jsn": {"price": 7}}))
    words = [sys.executable, "-m", "revelation", "--test", "paid", "--record", str(record)]

    shown = subprocess.run(words, env=stage.environ, capture_output=True, text=True, check=False)
    before = list(stage.slack.heard)
    sent = subprocess.run([*words, "--send"], env=stage.environ, capture_output=True, text=True, check=False)

    assert (shown.returncode, sent.returncode) == (0, 0), shown.stderr + sent.stderr
    assert shown.stdout == (
        "rule paid is true of this record of shop\nto desk (slack C0123456789):\n  https://a/&lt;b&gt;\n"
    )
    assert before == []
    assert stage.slack.times() == {"https://a/&lt;b&gt;": 1}
