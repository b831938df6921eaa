"""What docs/gke.md and docs/multi-region.md say about files, names, commands and sums is so."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from management import commands
from tests.k8s.rendered import K8S, TOP, WORKLOADS, Workload, of_kind, overlay, quantity, render, workloads

GKE = (TOP / "docs" / "gke.md").read_text(encoding="utf-8")
REGIONS = (TOP / "docs" / "multi-region.md").read_text(encoding="utf-8")
KINDS = {
    "configmap": "ConfigMap", "cronjob": "CronJob", "deployment": "Deployment", "gateway": "Gateway",
    "scaledobject": "ScaledObject", "service": "Service", "statefulset": "StatefulSet",
}  # fmt: skip


def blocks(page: str, language: str) -> list[str]:
    """Return a page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "text", [*blocks(GKE, "sh"), *blocks(REGIONS, "sh")], ids=lambda text: text.splitlines()[0][:40]
)
def test_a_shell_can_read_every_block(text):
    read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)

    assert (read.returncode, read.stderr) == (0, "")
    assert not re.search(r"(^|\s)#\s", text), "zsh takes no comments where it is typed into"


@pytest.mark.parametrize("page", [GKE, REGIONS], ids=["gke", "multi-region"])
def test_every_file_that_is_linked_or_named_is_there(page):
    linked = set(re.findall(r"\]\(([^)#:]+)[)#]", page))
    named = set(re.findall(r"\bk8s/(?:base|overlays/gke|iam)[\w./-]*", page)) - {
        "k8s/overlays/gke-eu",
        "k8s/overlays/gke-us",
    }

    assert [one for one in linked if not (TOP / "docs" / one).resolve().exists()] == []
    assert [
        one for one in named if "-eu/" not in one and "-us/" not in one and not (TOP / one.rstrip("./")).exists()
    ] == []


@pytest.mark.parametrize(
    "line", sorted({line.strip() for line in re.findall(r"^\s*(oceanus k8s .*)$", GKE, re.MULTILINE)})
)
def test_every_command_of_ours_is_one(line, monkeypatch, tmp_path):
    shutil.copytree(K8S, tmp_path / "k8s")
    (tmp_path / "Dockerfile").touch()
    monkeypatch.chdir(tmp_path)
    words = line.replace('"$REGISTRY"', "r.example/p/oceanus").split()[1:]

    ran = CliRunner().invoke(commands.oceanus, [*words, "--dry-run", *engine(words)])

    assert (ran.exit_code, ran.stderr) == (0, "") or "to start again" in ran.stderr


def engine(words: list[str]) -> list[str]:
    """Return what a command needs that the machine may lack."""
    tag = ["--tag", "1.0.0"] if words[1] in ("build", "push", "deploy") else []
    return [*tag, *(["--engine", "docker"] if words[1] in ("build", "push") else [])]


def test_every_object_that_is_named_to_kubectl_is_in_the_manifests():
    named = set(re.findall(r"\b(" + "|".join(KINDS) + r")[ /]([a-z][a-z0-9-]*)", "\n".join(blocks(GKE, "sh"))))
    named |= set(re.findall(r"(scaledobject)/([a-z0-9-]+)", GKE))

    assert named
    assert [one for one in sorted(named) if one[1] not in of_kind(overlay("gke-keda"), KINDS[one[0]])] == []


def test_claims_and_containers_are_called_as_the_page_calls_them():
    claims = set(re.findall(r"\b(?:pvc|claimName:|persistentVolumeClaimName:) ([a-z0-9-]+)", GKE))
    made = {
        re.compile(rf"{template['metadata']['name']}-{one.name}-\d+")
        for one in workloads()
        for template in one.manifest["spec"].get("volumeClaimTemplates", [])
    }

    assert claims
    assert all(any(name.fullmatch(claim) for name in made) for claim in claims)


def test_every_role_is_made_given_and_removed():
    roles = {file.stem for file in (K8S / "iam").iterdir()}
    loops = [set(one.split()) for one in re.findall(r"^for role in (.*); do$", GKE, re.MULTILINE)]
    given = set(re.findall(r"roles/oceanus_(\w+)\" \"\$POOL", GKE))
    accounts = set(re.findall(r"roles/oceanus_\w+\" \"\$POOL/subject/ns/oceanus/sa/([a-z0-9-]+)\"", GKE))

    assert loops == [roles, roles]
    assert given == roles - {"reader"}
    assert accounts <= set(of_kind(overlay("gke"), "ServiceAccount"))


def test_what_gcloud_makes_is_called_as_the_manifests_call_it():
    gateway = of_kind(overlay("gke"), "Gateway")["oceanus"]
    policy = of_kind(overlay("gke"), "GCPBackendPolicy")["arms"]["spec"]["default"]["securityPolicy"]

    assert f"gcloud compute addresses create {gateway['spec']['addresses'][0]['value']} --global" in GKE
    assert f"maps create {gateway['metadata']['annotations']['networking.gke.io/certmap']}\n" in GKE
    assert f"security-policies create {policy} " in GKE


def test_the_sums_are_those_of_the_manifests():
    pods = {"arms": 2, "r2bq": 2, "table-manager": 1, "revelation": 1, "redis-pd": 1}
    needs = [(count, Workload("gke", name).container["resources"]["requests"]) for name, count in pods.items()]
    cores = sum(count * quantity(one["cpu"]) for count, one in needs) / 1000
    memory = sum(count * quantity(one["memory"]) for count, one in needs) / 2**30

    assert f"pods that ask for {cores:.1f} cores and {memory:.1f} GiB in all" in GKE


def test_the_settings_that_step_5_changes_are_those_of_the_overlay(tmp_path):
    shutil.copytree(K8S, tmp_path / "k8s")
    [step] = [one for one in blocks(GKE, "sh") if one.startswith("sed -i.before")]
    environ = {
        "PATH": "/usr/bin:/bin",
        "PROJECT_ID": "p-1",
        "BQ_LOCATION": "EU",
        "DATA_SET": "rows",
        "HOST": "b.shop.test",
    }

    subprocess.run(["bash", "-ec", step.partition("\n\n")[0]], cwd=tmp_path, env=environ, check=True)

    [target] = [
        one for name, one in of_kind(render(tmp_path / "k8s/overlays/gke"), "ConfigMap").items() if "target" in name
    ]
    assert target["data"] == {
        "PROJECT_ID": "p-1",
        "BQ_LOCATION": "EU",
        "DATA_SET": "rows",
        "BQ_TABLE_PREFIX": "",
        "OCEANUS_ARMS_HOST": "b.shop.test",
    }


def test_the_patch_for_a_larger_redis_renders(tmp_path):
    shutil.copytree(K8S, tmp_path / "k8s")
    file = tmp_path / "k8s/overlays/gke/kustomization.yaml"
    written = file.read_text(encoding="utf-8")
    [patch] = blocks(GKE, "yaml")
    assert "\npatches:\n" in written

    file.write_text(written.replace("\npatches:\n", f"\npatches:\n{patch}"), encoding="utf-8")
    larger = of_kind(render(file.parent), "StatefulSet")["redis-pd"]["spec"]

    [container] = larger["template"]["spec"]["containers"]
    memory = quantity(container["resources"]["limits"]["memory"])
    [claim] = larger["volumeClaimTemplates"]
    assert [one["value"] for one in container["env"] if one["name"] == "REDIS_MAXMEMORY"] == ["4gb"]
    assert memory == quantity(container["resources"]["requests"]["memory"]) == (2 * 4096 + 256) * 2**20
    assert quantity(claim["spec"]["resources"]["requests"]["storage"]) >= 4 * 4 * 2**30


def test_the_page_on_regions_renders_as_it_stands(tmp_path):
    shutil.copytree(K8S, tmp_path / "k8s")
    config, other, export = blocks(REGIONS, "yaml")
    for name, text in (("gke-eu", config), ("gke-us", other)):
        folder = tmp_path / "k8s" / "overlays" / name
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(text, encoding="utf-8")
        (folder / "export.yaml").write_text(export, encoding="utf-8")
        target = (
            (K8S / "overlays/gke/target.env").read_text(encoding="utf-8").replace("=oceanus", f"=oceanus_{name[-2:]}")
        )
        (folder / "target.env").write_text(target, encoding="utf-8")

    eu, us = (render(tmp_path / "k8s" / "overlays" / name) for name in ("gke-eu", "gke-us"))

    imported = {"group": "net.gke.io", "kind": "ServiceImport", "name": "arms"}
    assert of_kind(eu, "Gateway")["oceanus"]["spec"]["gatewayClassName"] == "gke-l7-global-external-managed-mc"
    assert of_kind(eu, "HTTPRoute")["arms"]["spec"]["rules"][0]["backendRefs"] == [imported | {"port": 80}]
    assert of_kind(eu, "HealthCheckPolicy")["arms"]["spec"]["targetRef"] == imported
    assert of_kind(eu, "GCPBackendPolicy")["arms"]["spec"]["targetRef"] == imported
    for manifests, dataset in ((eu, "oceanus_eu"), (us, "oceanus_us")):
        assert of_kind(manifests, "ServiceExport").keys() == {"arms"}
        [told] = [one["data"] for name, one in of_kind(manifests, "ConfigMap").items() if name.startswith("target")]
        assert told["DATA_SET"] == dataset
    left_out = {"Gateway", "HTTPRoute", "HealthCheckPolicy", "GCPBackendPolicy"}
    assert {one["kind"] for one in us} == {one["kind"] for one in eu} - left_out
    assert sum(one["kind"] in WORKLOADS for one in us) == 6


def test_the_metrics_that_the_page_watches_are_told():
    section = GKE.partition("\n## Watch\n")[2].partition("\n## ")[0]
    watched = set(re.findall(r"oceanus_(?:arms|r2bq|audit)_\w+", section))
    told = "\n".join(
        file.read_text(encoding="utf-8")
        for name in ("arms", "r2bq", "table_manager")
        for file in Path(TOP, name).glob("*.py")
    )

    assert watched
    assert [
        one for one in watched if f'"{one}"' not in told and f'_{one.removeprefix("oceanus_audit_")}"' not in told
    ] == []
