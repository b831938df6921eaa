"""Kubernetes: the commands that build, push, deploy, roll back and stop a process, as words. Pure.

Each is an ordinary command of docker, podman or kubectl, so that whoever sees it printed could have typed it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

NAMESPACE = "oceanus"
LOCAL = "oceanus"  # the registry of images that stay on this machine
# Each image, which is a folder and a target of a Dockerfile, and what runs it.
RUN_BY = {
    "arms": "statefulset/arms",
    "r2bq": "deployment/r2bq",
    "table_manager": "deployment/table-manager",
    "revelation": "deployment/revelation",
    "redis_pd": "statefulset/redis-pd",
    "management": "cronjob/journals",
}
REPLICAS = {"arms": 2, "r2bq": 2}  # with which they start again; all others with one
NAMES = tuple(dict.fromkeys(name.replace("_", "-") for name in RUN_BY))
# How each engine builds, by a program that pushes as well. The first whose program is on the PATH is taken.
ENGINES = {
    "docker": ("docker", "build"),
    "podman": ("podman", "build"),
    "buildx": ("docker", "buildx", "build", "--load"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """Commands whose output each goes into the next."""

    commands: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """Return it as a line for a shell."""
        return " | ".join(shlex.join(words) for words in self.commands)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Which images are meant: where they lie, and of what version."""

    registry: str
    tag: str

    def name(self, folder: str) -> str:
        """Return an image's name."""
        return f"{self.registry}/{folder}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which cluster is meant, and where in it."""

    context: str = ""
    namespace: str = NAMESPACE

    def kubectl(self, *words: str, anywhere: bool = False) -> tuple[str, ...]:
        """Return a command of kubectl; `anywhere`: what it is given says itself where it belongs."""
        context = ("--context", self.context) if self.context else ()
        namespace = () if anywhere else ("--namespace", self.namespace)
        return ("kubectl", *context, *namespace, *words)


def folders(name: str) -> list[str]:
    """Return the folders that a process's name means: its own, by either name, or every one for `all`."""
    return list(RUN_BY) if name == "all" else [name.replace("-", "_")]


def build(names: Sequence[str], images: Images, engine: str, platform: str, version: str, revision: str) -> list[Step]:
    """Return what builds images."""
    arguments = ("--platform", platform, "--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={revision}")
    return [_step(*ENGINES[engine], *arguments, *_target(name, images)) for name in names]


def push(names: Sequence[str], images: Images, engine: str) -> list[Step]:
    """Return what pushes images that have been built."""
    return [_step(ENGINES[engine][0], "push", images.name(name)) for name in names]


def deploy(names: Sequence[str], images: Images, overlay: str, target: Target, timeout: str) -> list[Step]:
    """Return what applies an overlay, with these images, and waits until the new pods are ready.

    All that processes share is applied with each of them; of the processes, those that are named.
    """
    chosen = ["shared", *(name.replace("_", "-") for name in names)]
    only = ("--selector", f"app.kubernetes.io/name in ({','.join(chosen)})")
    image = f"s#image: .*/({'|'.join(RUN_BY)})[:@].*#image: {images.registry}/\\1:{images.tag}#"
    applied = Step(
        (
            ("kubectl", "kustomize", overlay),
            ("sed", "-E", image),
            target.kubectl("apply", *only, "--filename", "-", anywhere=True),
        )
    )
    return [applied, *_rolled(names, target, timeout)]


def rollback(name: str, target: Target, timeout: str, revision: int | None) -> list[Step]:
    """Return what goes back to the version before, or to a revision of `kubectl rollout history`."""
    to = (f"--to-revision={revision}",) if revision else ()
    return [Step((target.kubectl("rollout", "undo", RUN_BY[name], *to),)), *_rolled([name], target, timeout)]


def stop(names: Sequence[str], target: Target) -> list[Step]:
    """Return what stops processes and waits until their last pod is gone."""
    steps = []
    for name in names:
        if RUN_BY[name].startswith("cronjob/"):
            steps.append(_suspended(name, target, True))
            continue
        steps.append(Step((target.kubectl("scale", RUN_BY[name], "--replicas=0"),)))
        pods = ("--selector", f"app.kubernetes.io/name={name.replace('_', '-')}")
        steps.append(Step((target.kubectl("wait", "--for=delete", "pod", *pods, "--timeout=5m"),)))
    return steps


def start(names: Sequence[str], target: Target) -> list[Step]:
    """Return what starts stopped processes again."""
    return [
        _suspended(name, target, False)
        if RUN_BY[name].startswith("cronjob/")
        else Step((target.kubectl("scale", RUN_BY[name], f"--replicas={REPLICAS.get(name, 1)}"),))
        for name in names
    ]


def _suspended(name: str, target: Target, yes: bool) -> Step:
    patch = f'{{"spec": {{"suspend": {str(yes).lower()}}}}}'
    return Step((target.kubectl("patch", RUN_BY[name], "--patch", patch),))


def _rolled(names: Sequence[str], target: Target, timeout: str) -> list[Step]:
    waits = [RUN_BY[name] for name in names if not RUN_BY[name].startswith("cronjob/")]
    return [Step((target.kubectl("rollout", "status", one, f"--timeout={timeout}"),)) for one in waits]


def _target(name: str, images: Images) -> tuple[str, ...]:
    context = "redis_pd" if name == "redis_pd" else "."
    return ("--target", name, "--tag", images.name(name), context)


def _step(*words: str) -> Step:
    return Step((words,))
