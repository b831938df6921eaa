"""What the README shows works as it stands there. (Its queries are asked in tests/e2e.)"""

import re
from pathlib import Path

from arms.devices import device
from arms.intake import Accepted, Intake, Sent
from arms.parameters import pairs
from oceanus import sites

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def take(site: sites.Site, query: str) -> object:
    """Return what the intake makes of a query string."""
    sent = Sent(parameters=pairs(query.encode()), headers={}, address="::1", now_us=1, route="/", raw=query)
    return Intake(site, device).take(sent)


def test_the_example_of_a_data_format_takes_the_example_of_a_beacon() -> None:
    [example] = blocks("yaml")
    [query] = re.findall(r"/swallow/search\?([^']*)'", README)

    taken = take(sites.parse(example)["search"], query)

    assert isinstance(taken, Accepted)
    assert (taken.record["q"], taken.record["hits"]) == ("poodle", 3)


def test_the_first_beacon_is_a_good_one() -> None:
    [query] = re.findall(r"^curl -i '\S+/swallow/bizocean\?([^']*)'", README, re.MULTILINE)

    assert isinstance(take(sites.load(str(sites.SAMPLE))["bizocean"], query), Accepted)


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", README)

    assert named
    assert [name for name in named if not (Path(__file__).parents[1] / name).exists()] == []
