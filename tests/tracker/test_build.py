"""What is committed is what the sources make, it is small, and its package is clean."""

import gzip
import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.tracker.conftest import TRACKER, Built, node

STATIC = Path(__file__).parents[2] / "arms" / "static"
CORE_BYTES = 3072


def files(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_arms_serves_is_what_the_sources_make(built: Built) -> None:
    made, committed = files(built.static), files(STATIC)
    released = {name for name in committed if re.search(r"\.[0-9a-f]{16}\.js", name)}  # kept for pages with SRI

    assert made.keys() == committed.keys() - released, "cd tracker && npm run build"
    assert [name for name in made if made[name] != committed[name]] == [], "cd tracker && npm run build"


def test_the_core_is_small() -> None:
    assert len(gzip.compress((STATIC / "js" / "okeanides.js").read_bytes(), 9)) <= CORE_BYTES


@pytest.mark.parametrize("script", sorted((STATIC / "js").glob("*.js")), ids=lambda file: file.name)
def test_a_script_is_ascii_has_a_map_and_evaluates_no_text(script: Path) -> None:
    text = script.read_text(encoding="ascii")
    whole = json.loads(Path(f"{script}.map").read_text(encoding="utf-8"))

    assert text.endswith(f"//# sourceMappingURL={script.name}.map\n")
    assert all(name.startswith(("../src/", "src/")) for name in whole["sources"]), whole["sources"]
    assert not re.search(r"\beval\(|new Function|\bimport\(|\.innerHTML|document\.write|https?://[a-z]", text)


def test_the_types_and_unit_tests_hold() -> None:
    for script in ("check", "test"):
        run = node("npm", "run", "--silent", script)
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_package_is_clean(tmp_path: Path) -> None:
    run = node("npm", "pack", "--silent", "--pack-destination", str(tmp_path))
    assert run.returncode == 0, run.stderr

    [packed] = tmp_path.glob("*.tgz")
    with tarfile.open(packed) as archive:
        names = sorted(archive.getnames())
    assert {"package/LICENSE", "package/README.md", "package/package.json"} <= set(names)
    assert "package/dist/okeanides.mjs" in names
    assert "package/dist/types/module.d.ts" in names
    assert all(re.fullmatch(r"package/(dist/.+|LICENSE|README\.md|package\.json)", name) for name in names)


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((TRACKER / "package-lock.json").read_text(encoding="utf-8"))

    assert not [name for name, one in lock["packages"].items() if "resolved" in one]
    assert all("integrity" in one for name, one in lock["packages"].items() if name)
