"""`oceanus alerts failed` on a real Redis."""

import json

import pytest
from click.testing import CliRunner, Result

from management import commands
from oceanus.alerts import Alerts
from oceanus.spool import connect


class Desk:
    """Dead letters, and the commands about them."""

    def __init__(self, redis_server) -> None:
        self.alerts = Alerts(connect(redis_server.settings))
        self._environ = redis_server.environ
        for rule, place in (("paid", "desk"), ("open", "desk"), ("open", "book")):
            telling = {"key": f"{rule}:{place}", "rule": rule, "destination": place, "record": {}}
            self.alerts.fail(telling, "refused", 1_795_000_000_000_000)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(commands.oceanus, ["alerts", "failed", *words], env=self._environ)

    def left(self) -> set[str]:
        return {str(letter.telling["key"]) for letter in self.alerts.failed()}


@pytest.fixture
def desk(redis_server):
    return Desk(redis_server)


def test_list_shows_those_that_are_chosen(desk):
    shown = json.loads(desk.run("list", "--rule", "open", "--format", "json").stdout)

    assert {one["key"] for one in shown} == {"open:desk", "open:book"}
    assert "paid:desk" in desk.run("list").stdout


def test_retry_hands_on_what_is_named_and_says_what_is_not_there(desk):
    done = desk.run("retry", "paid:desk", "paid:nowhere")

    assert (done.exit_code, done.stdout) == (0, "1 message will be tried once more\n")
    assert done.stderr == "paid:nowhere: no such message has failed; see oceanus alerts failed list\n"
    assert [telling["key"] for _, telling in desk.alerts.again()] == ["paid:desk"]
    assert desk.left() == {"open:desk", "open:book"}


def test_drop_lets_those_go_that_are_chosen_and_no_other(desk):
    done = desk.run("drop", "--destination", "desk", "--rule", "open")

    assert (done.exit_code, done.stdout) == (0, "1 message dropped\n")
    assert desk.left() == {"paid:desk", "open:book"}
    assert desk.alerts.again() == []


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_nothing_chosen_is_an_error_and_nothing_found_an_exit_code(desk, command):
    assert "name keys, --rule, --destination or --all" in desk.run(command).output
    assert desk.run(command).exit_code == 2
    assert desk.run(command, "--rule", "nobody").exit_code == 1
    assert len(desk.left()) == 3
