"""The commands of `oceanus k8s`: images and processes in a cluster, by docker or podman and kubectl."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import click

from management import cluster, k8s, orphans
from management.k8s import Images, Step, Target
from management.telling import say
from management.wording import counted
from oceanus import sites
from oceanus.errors import MisconfiguredError
from revelation import rules

SECONDS = 10
Command = Callable[..., None]
_IN_IMAGES = (".", ":(exclude)k8s", ":(exclude)docs", ":(exclude)tests")
_REGISTRY = re.compile(r"[a-z0-9][a-z0-9._:/-]*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HERE = "run this in the folder of a checkout of oceanus"


@click.group("k8s")
def group() -> None:
    """Build, deploy, roll back, stop in a cluster.

    Each command prints the commands that it runs; with --dry-run it prints them and runs none. docs/gke.md goes through
    a whole deployment.
    """


def _choice(*more: str) -> Callable[[Command], Command]:
    """Return the argument PROCESS: a process by its name in the cluster, or that of its folder."""
    names = [*dict.fromkeys((*k8s.NAMES, *k8s.RUN_BY)), *more]
    return click.argument("process", type=click.Choice(names), metavar="PROCESS")


def _images(function: Command) -> Command:
    function = click.option(
        "--tag", help="Version of the images; else the package's and the code's commit: 0.1.0-1a2b3c4d."
    )(function)
    return click.option(
        "--registry",
        default=k8s.LOCAL,
        show_default=True,
        help="Where images lie: europe-docker.pkg.dev/PROJECT/oceanus.",
    )(function)


def _target(function: Command) -> Command:
    function = click.option("--namespace", default=k8s.NAMESPACE, show_default=True, help="Where the overlay puts it.")(
        function
    )
    return click.option("--context", default="", help="Cluster, by kubectl's name for it; else the current one.")(
        function
    )


_engine = click.option("--engine", type=click.Choice(list(k8s.ENGINES)), help="Else the first of them on the PATH.")
_dry_run = click.option("--dry-run", is_flag=True, help="Print the commands and run none.")
_timeout = click.option("--timeout", default="15m", show_default=True, help="How long to wait for the new pods.")


@group.command("build", epilog="Example: oceanus k8s build all --registry europe-docker.pkg.dev/my-project/oceanus")
@_choice("all")
@_images
@_engine
@click.option("--platform", default="linux/amd64", show_default=True, help="What the cluster's nodes are.")
@_dry_run
@click.pass_context
def build_command(
    ctx: click.Context, process: str, registry: str, tag: str | None, engine: str | None, platform: str, dry_run: bool
) -> None:
    """Build the image of a process, or `all`."""
    _need("Dockerfile")
    images = _given(registry, tag)
    steps = k8s.build(
        k8s.folders(process), images, _engine_of(engine), platform, version("oceanus"), _commit() or "unknown"
    )
    _go(ctx, steps, dry_run)


@group.command("push", epilog="Example: oceanus k8s push arms --registry europe-docker.pkg.dev/my-project/oceanus")
@_choice("all")
@_images
@_engine
@_dry_run
@click.pass_context
def push_command(
    ctx: click.Context, process: str, registry: str, tag: str | None, engine: str | None, dry_run: bool
) -> None:
    """Push an image to its registry, or `all`."""
    if registry == k8s.LOCAL:
        raise click.UsageError("--registry: name one that the cluster can reach: europe-docker.pkg.dev/PROJECT/oceanus")
    _go(ctx, k8s.push(k8s.folders(process), _given(registry, tag), _engine_of(engine)), dry_run)


@group.command("deploy", epilog="Example: oceanus k8s deploy arms --registry europe-docker.pkg.dev/my-project/oceanus")
@_choice("all")
@click.option("--overlay", default="gke", show_default=True, help="Of k8s/overlays, or the path of one of your own.")
@_images
@_target
@_timeout
@_dry_run
@click.pass_context
def deploy_command(
    ctx: click.Context,
    process: str,
    overlay: str,
    registry: str,
    tag: str | None,
    context: str,
    namespace: str,
    timeout: str,
    dry_run: bool,
) -> None:
    """Deploy a process and wait until it runs.

    Its manifests of an overlay are applied with the images of a version; `all` are those of every process. What all
    processes share (sites.yaml, alerts.yaml, network policies) is applied with each. A mistake in the overlay's
    sites.yaml or alerts.yaml stops it before anything is changed.
    """
    folder = _overlay(overlay)
    _check(folder)
    names, images = k8s.folders(process), _given(registry, tag)
    target = Target(context=context, namespace=namespace)
    _go(ctx, k8s.deploy(names, images, str(folder), target, timeout), dry_run)


@group.command("rollback", epilog="Example: oceanus k8s rollback arms")
@_choice()
@click.option("--revision", type=click.IntRange(min=1), help="Of `kubectl rollout history`; else the one before.")
@_target
@_timeout
@_dry_run
@click.pass_context
def rollback_command(
    ctx: click.Context, process: str, revision: int | None, context: str, namespace: str, timeout: str, dry_run: bool
) -> None:
    """Go back to what ran before.

    That is the version of a process before, with its sites.yaml of then, or a revision. The next deploy goes
    forward again: mend what is deployed, too.
    """
    [name] = k8s.folders(process)
    if k8s.RUN_BY[name].startswith("cronjob/"):
        raise click.UsageError(f"{process}: a CronJob keeps no version of before: deploy that one with --tag")
    _go(ctx, k8s.rollback(name, Target(context=context, namespace=namespace), timeout, revision), dry_run)


@group.command("stop", epilog="Example: oceanus k8s stop r2bq")
@_choice("all")
@_target
@_dry_run
@click.pass_context
def stop_command(ctx: click.Context, process: str, context: str, namespace: str, dry_run: bool) -> None:
    """Stop a process; all that waits stays.

    While r2bq is stopped, records wait in Redis; while redis-pd is, in arms' journals; while arms is, no beacon is
    taken. The last line says how to start it again.
    """
    names, target = k8s.folders(process), Target(context=context, namespace=namespace)
    _go(ctx, k8s.stop(names, target), dry_run)
    say([f"to start again: {step}" for step in k8s.start(names, target)])


@group.command("journals", epilog="Example: kubectl --namespace oceanus create job now --from=cronjob/journals")
@click.option("--dry-run", is_flag=True, help="Name the volumes and start nothing.")
def journals_command(dry_run: bool) -> None:
    """Empty journals that have no arms any more.

    It runs in the cluster, as the CronJob `journals`. For each volume of arms that no pod uses or will use, a Job
    that pushes what its journal holds. The volume stays.
    """
    reached = cluster.inside()
    found = reached.statefulset("arms")
    left = orphans.find(found, reached.list("persistentvolumeclaims"), reached.list("pods"))
    for claim in left:
        if not dry_run:
            reached.create_job(orphans.job(found, claim))
        click.echo(f"{claim}: {'would be' if dry_run else 'is'} emptied by a Job")
    click.echo(f"{counted(len(left), 'volume')} without an arms")


def _need(*files: str) -> None:
    for file in files:
        if not Path(file).exists():
            raise MisconfiguredError([f"{Path.cwd()}: has no {file}: {_HERE}"])


def _overlay(name: str) -> Path:
    """Return the folder of an overlay: a name below k8s/overlays, or a path."""
    folder = Path(name) if "/" in name else Path("k8s", "overlays", name)
    if not (folder / "kustomization.yaml").exists():
        there = ", ".join(sorted(one.parent.name for one in Path("k8s", "overlays").glob("*/kustomization.yaml")))
        raise MisconfiguredError([f"--overlay {name}: there is no {folder}/kustomization.yaml: {there or _HERE}"])
    return folder


def _check(folder: Path) -> None:
    """Raise MisconfiguredError for mistakes in the files of an overlay that has some."""
    if not (folder / "sites.yaml").exists():
        return
    declared = sites.load(str(folder / "sites.yaml"))
    if (folder / "alerts.yaml").exists():
        rules.load(str(folder / "alerts.yaml"), declared)


def _given(registry: str, tag: str | None) -> Images:
    if not _REGISTRY.fullmatch(registry):
        raise click.UsageError(f"--registry {registry}: is none, such as europe-docker.pkg.dev/PROJECT/oceanus")
    return Images(registry=registry.rstrip("/"), tag=_tag(tag))


def _tag(given: str | None) -> str:
    """Return the tag: the given one, else the package's version and the commit."""
    commit = None if given else _commit()
    if not given and not commit:
        raise MisconfiguredError(
            ["--tag: this is no git checkout that would tell the commit: give a version, such as 0.1.0"]
        )
    tag = given or f"{version('oceanus')}-{commit}"
    if not _TAG.fullmatch(tag):
        raise click.UsageError(f"--tag {tag}: must be letters, digits, dots, dashes and underscores, up to 128")
    return tag


def _commit() -> str | None:
    """Return the last commit to what goes into an image, `-dirty` if that has changed since; None without git.

    Manifests and settings are changed and committed without a new image being built.
    """
    commit = _git("log", "-1", "--abbrev=8", "--format=%h", "--", *_IN_IMAGES)
    if not commit:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *_IN_IMAGES)
    return f"{commit}-dirty" if changed else commit


def _git(*words: str) -> str:
    try:
        told = subprocess.run(["git", *words], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603, S607
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip()


def _engine_of(given: str | None) -> str:
    if given:
        return given
    found = next((name for name, words in k8s.ENGINES.items() if shutil.which(words[0])), None)
    if found is None:
        raise MisconfiguredError(
            [f"none of {', '.join(k8s.ENGINES)} is on the PATH: install one, or name it by --engine"]
        )
    return found


def _go(ctx: click.Context, steps: Iterable[Step], dry_run: bool) -> None:
    """Print the steps, and run them unless that is all that is wanted; exit 1 at the first that fails."""
    for step in steps:
        if dry_run:
            click.echo(str(step))
            continue
        say([f"+ {step}"])
        if not _run(step):
            ctx.exit(1)


def _run(step: Step) -> bool:
    """Run a step; return whether all of its commands ended well, with a line about each that did not."""
    started: list[subprocess.Popen[bytes]] = []
    for words in step.commands:
        if not shutil.which(words[0]):
            say([f"{words[0]} is not on the PATH: install it, or copy the commands that --dry-run prints"])
            break
        last = len(started) == len(step.commands) - 1
        feeds = started[-1].stdout if started else None
        started.append(subprocess.Popen(words, stdin=feeds, stdout=None if last else subprocess.PIPE))  # noqa: S603
        if feeds:
            feeds.close()  # ours: the command that reads it has its own
    if started and started[-1].stdout:
        started[-1].stdout.close()
    codes = [one.wait() for one in started]
    failed = [
        f"{words[0]} ended with exit code {code}" for words, code in zip(step.commands, codes, strict=False) if code
    ]
    say(failed)
    return len(codes) == len(step.commands) and not failed
