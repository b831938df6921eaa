"""Orphans: volumes of arms that no arms will mount any more, and the Job that pushes what their journals hold. Pure."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

PREFIX = "journal-arms-"  # of claims: the template's name and the StatefulSet's
FOLDER = "/journal"
NAME = "app.kubernetes.io/name"
_OVER = ("Succeeded", "Failed")
# What is for something that serves and is stopped again.
_SERVING = ("lifecycle", "livenessProbe", "ports", "readinessProbe", "startupProbe")
Manifest = Mapping[str, Any]


def find(statefulset: Manifest, claims: Iterable[Manifest], pods: Iterable[Manifest]) -> list[str]:
    """Return the claims of journals that no pod uses, and that the StatefulSet has no place for as it is now.

    A pod that only moves to another node finds its volume free.
    """
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods
        if pod.get("status", {}).get("phase") not in _OVER
        for volume in pod["spec"].get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    return sorted(
        name
        for claim in claims
        if _place(name := claim["metadata"]["name"]) >= statefulset["spec"]["replicas"]
        and claim.get("status", {}).get("phase") == "Bound"
        and "deletionTimestamp" not in claim["metadata"]
        and name not in used
    )


def job(statefulset: Manifest, claim: str) -> dict[str, Any]:
    """Return a Job that empties the journal on `claim`: arms' own pod, with its image and settings, but not serving."""
    pod = deepcopy(statefulset["spec"]["template"]["spec"])
    [container] = pod["containers"]
    for key in _SERVING:
        container.pop(key, None)
    container["args"] = ["--push-journal", FOLDER]
    pod.pop("topologySpreadConstraints", None)
    pod["volumes"] = [*pod.get("volumes", []), {"name": "journal", "persistentVolumeClaim": {"claimName": claim}}]
    pod |= {"restartPolicy": "Never", "terminationGracePeriodSeconds": 30}
    labels = {NAME: "arms-journals", "app.kubernetes.io/part-of": "oceanus"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": f"{claim}-", "labels": labels},
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": 1800,
            "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _place(name: str) -> int:
    """Return which arms a claim belongs to; -1 for one that belongs to none."""
    number = name.removeprefix(PREFIX)
    return int(number) if name.startswith(PREFIX) and number.isascii() and number.isdigit() else -1
