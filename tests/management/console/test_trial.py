"""The trial: every site of the sample accepts a test beacon, which is known beforehand and told from any other."""

import pytest

from arms.devices import device
from arms.intake import Accepted, Intake, Sent
from management.console import trial
from oceanus import sites
from oceanus.sites import SAMPLE

DECLARED = sites.load(str(SAMPLE))
NOW_US = 1_795_418_491_000_000
STRICT = """
shapes:
  odd:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      kind: {from: query, rule: {type: string, required: true, allowed: [one, two]}}
      size: {from: query, normal: [integer], rule: {type: integer, required: true}, type: INT64}
      more: {from: query, rule: {type: string}}
      code: {from: query, rule: {type: string, required: true, default: x}}
sites:
  odd: {method: swallow, shape: odd, origins: {allow: [https://b.example, https://a.example], enforce: true}}
  server: {method: pierce, shape: odd}
"""


def taken(site: sites.Site, beacon: trial.Trial) -> object:
    sent = Sent(
        parameters=list(beacon.parameters.items()),
        headers={"user-agent": beacon.headers["User-Agent"]},
        address="127.0.0.1",
        now_us=NOW_US,
        route=beacon.path,
        raw="",
    )
    return Intake(site, device).take(sent)


@pytest.mark.parametrize("name", DECLARED)
def test_every_site_of_the_sample_accepts_it_as_the_event_that_was_foretold(name):
    beacon = trial.trial(DECLARED[name])

    found = taken(DECLARED[name], beacon)

    assert isinstance(found, Accepted), found
    assert (found.eid, found.again) == (beacon.eid, False)
    assert {"evt": "test", "url": trial.PAGE}.items() & found.record.items() or found.record["sid"].startswith("7e57")


def test_no_two_are_the_same_event():
    site = DECLARED["bizocean"]

    assert trial.trial(site).eid != trial.trial(site).eid


def test_a_field_that_must_be_there_gets_what_its_rule_takes():
    odd = sites.parse(STRICT)["odd"]
    beacon = trial.trial(odd)

    found = taken(odd, beacon)

    assert isinstance(found, Accepted), found
    assert (found.record["kind"], found.record["size"], found.record["code"]) == ("one", 1, "x")
    assert "more" not in beacon.parameters
    assert beacon.headers["Origin"] == "https://a.example"


def test_a_form_is_posted_and_a_server_s_site_is_given_the_token():
    declared = sites.parse(STRICT)

    assert (trial.trial(DECLARED["docreq"]).method, trial.trial(DECLARED["docreq"]).path) == ("POST", "/pirate/docreq")
    assert trial.trial(declared["server"], "secret").headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in trial.trial(declared["odd"], "secret").headers
