"""The component redis-users: each process comes to Redis by its own name, and Redis knows the hashes alone."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from management import redis_users
from tests.k8s.rendered import K8S, PROCESSES, dns, of_kind, overlay, render


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the pods' specs of the gke overlay with the component, by the name of what runs them."""
    folder = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(K8S, folder)
    file = folder / "overlays" / "gke" / "kustomization.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "components: [../../components/redis-users]\n", encoding="utf-8")
    made = render(file.parent)
    every = of_kind(made, "StatefulSet") | of_kind(made, "Deployment")
    return {name: one["spec"]["template"]["spec"] for name, one in every.items()}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_has_its_own_name_and_password(pods, process):
    [container] = pods[dns(process)]["containers"]
    told = {one["name"]: one for one in container["env"]}
    plain = {one["name"] for one in plain_container(process)["env"]}

    assert told["REDIS_USER"]["value"] == process
    secret = {"name": "redis-users", "key": process, "optional": False}
    assert told["REDIS_PASSWORD"]["valueFrom"] == {"secretKeyRef": secret}
    assert told.keys() - plain == {"REDIS_USER"}


def plain_container(process: str) -> dict[str, Any]:
    every = of_kind(overlay("gke"), "StatefulSet") | of_kind(overlay("gke"), "Deployment")
    return dict(every[dns(process)]["spec"]["template"]["spec"]["containers"][0])


def test_redis_reads_the_acl_file_and_no_password(pods):
    pod = pods["redis-pd"]
    [container] = pod["containers"]
    [volume] = [one for one in pod["volumes"] if one["name"] == "redis-users"]

    assert container["args"] == ["--protected-mode", "no", "--aclfile", "/etc/redis-users/users.acl"]
    assert volume["secret"]["items"] == [{"key": "users.acl", "path": "users.acl"}]
    assert {"name": "redis-users", "mountPath": "/etc/redis-users", "readOnly": True} in container["volumeMounts"]


def test_the_secret_that_is_made_has_what_is_read(tmp_path: Path):
    redis_users.make(tmp_path)

    assert {file.name for file in tmp_path.iterdir()} >= {"users.acl", *PROCESSES}
