"""What must hold of the Dockerfiles, read as text."""

import configparser
import re

import pytest

from tests.images import dockerfile
from tests.images.scratch import TOP, allowed
from tests.test_house import PROCESSES

IMAGES = (*PROCESSES, "management")
OURS = dockerfile.read(TOP / "Dockerfile")
REDIS = dockerfile.read(TOP / "redis_pd" / "Dockerfile")


def version() -> str:
    """Return the version of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg", encoding="utf-8")
    return config["metadata"]["version"]


@pytest.mark.parametrize("image", IMAGES)
def test_a_target_is_named_like_its_folder_and_runs_it(image: str) -> None:
    assert OURS.stages[image].all("ENTRYPOINT")[-1].words == ["python", "-m", image]
    assert (TOP / image / "__main__.py").exists()
    assert (TOP / "requirements" / f"{image}.txt").exists()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_holds_what_its_own_lock_file_names(image: str) -> None:
    copied = [one.rest for stage in OURS.lineage(image) for one in stage.all("COPY")]
    installed = [one.rest for one in OURS.stages[f"install-{image}"].all("RUN")]

    assert copied == [f"--from=install-{image} /opt/oceanus /opt/oceanus"]
    [fetched, put] = installed
    assert re.search(rf"^pip wheel .*--require-hashes --only-binary :all: .*-r requirements/{image}\.txt$", fetched)
    assert put.endswith("install --no-cache-dir --no-deps --no-index wheels/*.whl")


@pytest.mark.parametrize(("file", "image"), [*((OURS, image) for image in IMAGES), (REDIS, "redis_pd")])
def test_an_image_runs_as_a_numbered_user_that_is_not_root(file: dockerfile.Dockerfile, image: str) -> None:
    [user] = [one.rest for stage in file.lineage(image) for one in stage.all("USER")]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_builds_nothing(image: str) -> None:
    run = [one.rest for stage in OURS.lineage(image) for one in stage.all("RUN")]

    assert [line.partition(" /")[0] for line in run] == ["rm -rf"]


@pytest.mark.parametrize(("file", "image"), [*((OURS, image) for image in IMAGES), (REDIS, "redis_pd")])
def test_an_image_is_labelled(file: dockerfile.Dockerfile, image: str) -> None:
    labels: dict[str, str] = {}
    for stage in file.lineage(image):
        for one in stage.all("LABEL"):
            labels |= one.pairs

    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert told.keys() >= {"title", "description", "vendor", "version", "revision", "base.name"}
    assert (told["title"], told["version"]) == (image, "${VERSION}")


@pytest.mark.parametrize("file", [OURS, REDIS], ids=["ours", "redis_pd"])
def test_a_base_is_an_argument_so_that_it_can_be_given_with_its_digest(file: dockerfile.Dockerfile) -> None:
    bases = {stage.base for stage in file.stages.values()} - file.stages.keys()

    assert bases == set(file.arguments.values())
    assert all(re.fullmatch(r"docker\.io/library/\w+:[\w.]*\d[\w.-]*", base) for base in bases)


@pytest.mark.parametrize(("file", "stage"), [(OURS, "runtime"), (REDIS, "redis_pd")])
def test_an_image_is_labelled_with_this_version(file: dockerfile.Dockerfile, stage: str) -> None:
    values: dict[str, str] = {}
    for one in file.stages[stage].all("ARG"):
        values |= one.pairs

    assert values["VERSION"] == version()


def test_a_build_gets_every_package_and_no_more() -> None:
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg", encoding="utf-8")
    packages = {name.partition(".")[0] for name in config["options"]["packages"].split()}

    assert set(allowed(TOP)) == packages | {"requirements", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"}


def test_the_image_of_redis_starts_from_the_shipped_configuration() -> None:
    assert [one.rest for one in REDIS.stages["redis_pd"].all("COPY")] == ["redis.conf /etc/redis/redis.conf"]
