"""arms/openapi.yaml says what the application has: every route with its methods, and no other."""

from pathlib import Path
from typing import Any

import yaml

import arms.app
from oceanus import schema
from tests.arms.conftest import Arms

DOCUMENT = yaml.safe_load(Path(arms.app.__file__).with_name("openapi.yaml").read_text(encoding="utf-8"))
METHODS = ("get", "head", "post", "options")


def routes(app: Any) -> dict[str, set[str]]:
    """Return every route of the application with the methods that we answer, without the framework's own OPTIONS."""
    return {
        node.uri_template: {name for name in METHODS if hasattr(node.resource, f"on_{name}")}
        for node in _nodes(app._router._roots)
    }


def _nodes(nodes: Any) -> Any:
    for node in nodes:
        if node.resource is not None:
            yield node
        yield from _nodes(node.children)


def test_the_document_names_every_route_and_no_other(arms: Arms) -> None:
    documented = {path: {name for name in METHODS if name in said} for path, said in DOCUMENT["paths"].items()}

    assert documented == routes(arms.client.app)


def test_no_path_of_a_site_can_take_the_place_of_one_of_ours(arms: Arms) -> None:
    assert {path.split("/")[1] for path in routes(arms.client.app)} - {""} == set(schema.RESERVED_PATHS)
