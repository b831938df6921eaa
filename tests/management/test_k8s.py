"""`oceanus k8s`: what it prints can be run as it stands, and does what it does itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from management import commands, k8s
from management.k8s import Images, Target
from tests.k8s.rendered import TOP, kubectl, of_kind

REGISTRY = "europe-docker.pkg.dev/my-project/oceanus"
STAND_IN = """#!/bin/sh
# Records its arguments, and what it is given; what kustomize makes of an overlay is the real thing.
if [ "$1" = kustomize ]; then exec {kubectl} "$@"; fi
number=$(ls "{folder}" | wc -l)
{{ echo "{name} $*"; case "$*" in *"--filename -"*) cat;; esac; }} > "{folder}/$(printf %03d "$number")"
exit {code}
"""


class Stage:
    """A PATH with stand-ins that record how they are called, and a checkout as working folder."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.records = folder / "bin", folder / "records"
        for one in (self.programs, self.records):
            one.mkdir()
        for name in ("sh", "sed", "cat", "ls", "wc", "printf"):
            found = shutil.which(name)
            if found:
                (self.programs / name).symlink_to(found)

    def has(self, *names: str, code: int = 0) -> None:
        for name in names:
            file = self.programs / name
            file.write_text(STAND_IN.format(name=name, folder=self.records, kubectl=kubectl(), code=code))
            file.chmod(0o755)

    def recorded(self) -> list[str]:
        """Return what was recorded, and forget it."""
        files = sorted(self.records.iterdir())
        texts = [one.read_text(encoding="utf-8") for one in files]
        for one in files:
            one.unlink()
        return texts


@pytest.fixture
def stage(tmp_path, monkeypatch):
    made = Stage(tmp_path)
    monkeypatch.setenv("PATH", str(made.programs))
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    shutil.copytree(TOP / "k8s", checkout / "k8s")
    (checkout / "Dockerfile").touch()
    monkeypatch.chdir(checkout)
    return made


def oceanus(*words: str) -> Result:
    return CliRunner().invoke(commands.oceanus, ("k8s", *words))


CALLS = [
    ("build", "arms", "--tag", "1.2.3", "--registry", REGISTRY),
    ("build", "all", "--tag", "1.2.3"),
    ("push", "redis-pd", "--tag", "1.2.3", "--registry", REGISTRY),
    ("deploy", "arms", "--tag", "1.2.3", "--registry", REGISTRY),
    ("deploy", "all", "--tag", "1.2.3", "--overlay", "local", "--context", "kind kind"),
    ("deploy", "management", "--tag", "1.2.3", "--overlay", "gke-keda"),
    ("rollback", "table_manager"),
    ("rollback", "arms", "--revision", "3", "--context", "c", "--namespace", "other"),
    ("stop", "r2bq"),
    ("stop", "all"),
]


@pytest.mark.parametrize("engine", ["docker", "podman"])
@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_the_printed_commands_do_what_the_command_does(stage, words, engine):
    stage.has("kubectl", engine)

    ran = oceanus(*words)
    by_itself = stage.recorded()
    printed = oceanus(*words, "--dry-run")
    nothing = stage.recorded()
    shell = subprocess.run(["sh", "-e"], input=printed.stdout, capture_output=True, text=True, check=False)

    assert (ran.exit_code, printed.exit_code, shell.returncode, shell.stderr) == (0, 0, 0, "")
    assert by_itself
    assert (nothing, stage.recorded()) == ([], by_itself)
    assert [
        line.removeprefix("+ ") for line in ran.stderr.splitlines() if line[0] == "+"
    ] == printed.stdout.splitlines()


def test_deploying_one_process_applies_its_image_and_what_all_share(stage):
    stage.has("kubectl")

    assert oceanus("deploy", "arms", "--tag", "1.2.3", "--registry", REGISTRY).exit_code == 0

    applied, waited = stage.recorded()
    command, _, text = applied.partition("\n")
    arms = of_kind(list(yaml.safe_load_all(text)), "StatefulSet")["arms"]
    assert command == "kubectl apply --selector app.kubernetes.io/name in (shared,arms) --filename -"
    assert arms["spec"]["template"]["spec"]["containers"][0]["image"] == f"{REGISTRY}/arms:1.2.3"
    assert waited == "kubectl --namespace oceanus rollout status statefulset/arms --timeout=15m\n"


def test_deploying_changes_nothing_but_images(stage):
    stage.has("kubectl")
    oceanus("deploy", "all", "--tag", "1.2.3", "--registry", REGISTRY)
    before = subprocess.run([kubectl(), "kustomize", "k8s/overlays/gke"], capture_output=True, text=True, check=True)

    applied = stage.recorded()[0].partition("\n")[2]

    old, new = before.stdout.splitlines(), applied.splitlines()
    changed = [(one.split(), other.split()) for one, other in zip(old, new, strict=True) if one != other]
    images = {(was[-1].partition(":")[0].rpartition("/")[2], is_now[-1]) for was, is_now in changed}
    assert images == {(folder, f"{REGISTRY}/{folder}:1.2.3") for folder in k8s.RUN_BY}


def test_images_that_have_a_registry_or_a_digest_are_replaced_too(stage):
    stage.has("kubectl")
    file = Path("k8s/base/kustomization.yaml")
    text = file.read_text(encoding="utf-8").replace(
        "{name: oceanus/arms, newTag: 0.1.0}",
        f"{{name: oceanus/arms, newName: r.example/a/arms, digest: sha256:{'0' * 64}}}",
    )
    file.write_text(text, encoding="utf-8")

    oceanus("deploy", "arms", "--tag", "1.2.3", "--registry", REGISTRY)

    assert f"image: {REGISTRY}/arms:1.2.3\n" in stage.recorded()[0]


def test_a_mistake_in_sites_yaml_is_told_and_nothing_is_applied(stage):
    stage.has("kubectl")
    Path("k8s/overlays/gke/sites.yaml").write_text("sites: {shop: {method: nosuch}}\n", encoding="utf-8")

    result = oceanus("deploy", "arms", "--tag", "1.2.3")

    assert result.exit_code == 1
    assert "nosuch" in result.stderr
    assert stage.recorded() == []


def test_a_command_that_fails_ends_it_with_a_line_and_the_next_is_not_run(stage):
    stage.has("kubectl", code=3)

    result = oceanus("deploy", "arms", "--tag", "1.2.3")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "kubectl ended with exit code 3"
    assert len(stage.recorded()) == 1


def test_an_overlay_that_kustomize_refuses_is_not_half_applied_in_silence(stage):
    stage.has("kubectl")
    Path("k8s/overlays/gke/kustomization.yaml").write_text("resources: [nosuch.yaml]\n", encoding="utf-8")

    result = oceanus("deploy", "arms", "--tag", "1.2.3")

    assert result.exit_code == 1
    assert "kubectl ended with exit code 1" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("push", "arms", "--tag", "1"), "--registry: name one that the cluster can reach"),
        (("push", "arms", "--registry", "R & D", "--tag", "1"), "--registry R & D: is none"),
        (("build", "arms", "--tag", "a b"), "--tag a b: must be letters"),
        (
            (
                "build",
                "nosuch",
            ),
            "'nosuch' is not one of",
        ),
        (("rollback", "management"), "a CronJob keeps no version of before"),
    ],
)
def test_wrong_use_is_told_and_exit_2(stage, words, sentence):
    stage.has("docker", "kubectl")

    result = oceanus(*words)

    assert result.exit_code == 2
    assert sentence in result.stderr
    assert stage.recorded() == []


def test_without_an_engine_it_says_which_it_knows(stage):
    result = oceanus("build", "arms", "--tag", "1")

    assert result.exit_code == 1
    assert result.stderr == "none of docker, podman, buildx is on the PATH: install one, or name it by --engine\n"


def test_without_kubectl_it_says_so(stage):
    result = oceanus("rollback", "arms")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("kubectl is not on the PATH")


def test_elsewhere_than_in_a_checkout_it_says_so(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    build, deploy = oceanus("build", "arms", "--tag", "1"), oceanus("deploy", "arms", "--tag", "1")

    assert (build.exit_code, deploy.exit_code) == (1, 1)
    assert build.stderr == f"{tmp_path}: has no Dockerfile: run this in the folder of a checkout of oceanus\n"
    assert "there is no k8s/overlays/gke/kustomization.yaml" in deploy.stderr


def test_an_overlay_that_is_not_there_is_told_with_those_that_are(stage):
    assert oceanus("deploy", "arms", "--overlay", "aws", "--tag", "1").stderr == (
        "--overlay aws: there is no k8s/overlays/aws/kustomization.yaml: gke, gke-keda, local\n"
    )


def test_the_version_is_the_packages_and_the_last_commits_to_what_goes_into_images(stage, monkeypatch):
    monkeypatch.setenv("PATH", f"{stage.programs}:{os.path.dirname(str(shutil.which('git', path=os.defpath)))}")
    build = ("build", "arms", "--dry-run", "--engine", "docker")
    without = oceanus(*build).stderr
    git("init", "--quiet")
    commit = committed("first")

    clean = oceanus(*build).stdout
    Path("k8s/overlays/gke/target.env").write_text("PROJECT_ID=other", encoding="utf-8")
    configured = oceanus(*build).stdout
    committed("other settings")
    configured_for_good = oceanus(*build).stdout
    Path("Dockerfile").write_text("changed", encoding="utf-8")
    dirty = oceanus(*build).stdout

    assert "--tag: this is no git checkout" in without
    assert f"--tag oceanus/arms:0.1.0-{commit} ." in clean
    assert clean == configured == configured_for_good
    assert f"--tag oceanus/arms:0.1.0-{commit}-dirty ." in dirty


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def committed(message: str) -> str:
    """Commit everything here, and return the commit."""
    git("add", "--all")
    git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", message)
    return git("rev-parse", "--short=8", "HEAD")


def test_stopping_says_how_to_start_again(stage):
    stage.has("kubectl")

    told = oceanus("stop", "arms").stderr.splitlines()[-1]

    assert told == "to start again: kubectl --namespace oceanus scale statefulset/arms --replicas=2"


def test_both_names_of_a_process_mean_the_same():
    assert k8s.folders("table-manager") == k8s.folders("table_manager") == ["table_manager"]
    assert k8s.folders("all") == list(k8s.RUN_BY)


def test_each_engine_builds_and_pushes():
    images = Images(registry="r", tag="1")

    built = {one: str(k8s.build(["redis_pd"], images, one, "linux/arm64", "0.1.0", "abc")[0]) for one in k8s.ENGINES}
    pushed = {one: str(k8s.push(["redis_pd"], images, one)[0]) for one in k8s.ENGINES}

    rest = (
        "--platform linux/arm64 --build-arg VERSION=0.1.0 --build-arg REVISION=abc --target redis_pd "
        "--tag r/redis_pd:1 redis_pd"
    )
    assert built == {
        "docker": f"docker build {rest}",
        "podman": f"podman build {rest}",
        "buildx": f"docker buildx build --load {rest}",
    }
    assert pushed == {one: f"{'podman' if one == 'podman' else 'docker'} push r/redis_pd:1" for one in k8s.ENGINES}


def test_what_runs_an_image_is_in_the_manifests():
    kinds = {"statefulset": "StatefulSet", "deployment": "Deployment", "cronjob": "CronJob"}
    texts = {folder: (TOP / "k8s" / "base" / f"{folder.replace('_', '-')}.yaml") for folder in k8s.RUN_BY}

    for folder, what in k8s.RUN_BY.items():
        kind, _, name = what.partition("/")
        manifests = list(yaml.safe_load_all(texts[folder].read_text(encoding="utf-8")))
        assert name in of_kind(manifests, kinds[kind])


def test_a_stopped_process_starts_with_as_many_as_before():
    for folder, what in k8s.RUN_BY.items():
        text = (TOP / "k8s" / "base" / f"{folder.replace('_', '-')}.yaml").read_text(encoding="utf-8")
        several = [one["spec"] for one in yaml.safe_load_all(text) if one["kind"] in ("Deployment", "StatefulSet")]
        least = [one["spec"]["minReplicas"] for one in yaml.safe_load_all(text) if "Autoscaler" in one["kind"]]
        wanted = least or [one.get("replicas") for one in several]
        assert what.startswith("cronjob/") or [k8s.REPLICAS.get(folder, 1)] == wanted


def test_the_namespace_and_the_cluster_can_be_chosen():
    assert Target(context="c", namespace="n").kubectl("get", "pods") == (
        "kubectl", "--context", "c", "--namespace", "n", "get", "pods",
    )  # fmt: skip
