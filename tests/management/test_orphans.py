"""Orphans: exactly the volumes that no arms has or will have are emptied, by a pod that is arms' own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from management import orphans
from oceanus import settings
from oceanus.settings import ArmsSettings
from tests.conftest import absent
from tests.k8s.rendered import Workload


def statefulset(replicas: int = 1) -> dict:
    found = Workload("gke", "arms").manifest
    return found | {"spec": found["spec"] | {"replicas": replicas}}


def claim(name: str, phase: str = "Bound", **more: str) -> dict:
    return {"metadata": {"name": name} | more, "status": {"phase": phase}}


def pod(*claims: str, phase: str = "Running") -> dict:
    volumes = [{"name": "tmp", "emptyDir": {}}, *({"persistentVolumeClaim": {"claimName": one}} for one in claims)]
    return {"spec": {"volumes": volumes}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("claims", "pods", "left"),
    [
        ([claim("journal-arms-0")], [], []),  # its pod is on its way
        ([claim("journal-arms-1")], [], ["journal-arms-1"]),
        ([claim("journal-arms-1")], [pod("journal-arms-1")], []),  # it still leaves, or a Job empties it
        ([claim("journal-arms-1")], [pod("journal-arms-1", phase="Pending")], []),
        ([claim("journal-arms-1")], [pod("journal-arms-1", phase="Succeeded")], ["journal-arms-1"]),
        ([claim("journal-arms-1", phase="Lost")], [], []),
        ([claim("journal-arms-1", deletionTimestamp="2026-11-22T00:00:00Z")], [], []),
        ([claim("data-redis-pd-0"), claim("journal-arms-x"), claim("journal-arms-"), claim("other-5")], [], []),
    ],
)
def test_a_volume_is_left_when_no_pod_uses_it_and_none_will(claims, pods, left):
    assert orphans.find(statefulset(), claims, pods) == left


@given(st.integers(0, 5), st.sets(st.integers(0, 12)), st.sets(st.integers(0, 12)))
def test_every_volume_is_used_expected_or_left(replicas, volumes, used):
    claims = [claim(f"journal-arms-{number}") for number in volumes]
    pods = [pod(f"journal-arms-{number}") for number in used]

    left = orphans.find(statefulset(replicas), claims, pods)

    assert sorted(left) == sorted(f"journal-arms-{number}" for number in volumes - used if number >= replicas)


def test_its_job_is_arms_own_pod_that_pushes_and_does_not_serve():
    deployed = Workload("gke", "arms")

    made = orphans.job(statefulset(), "journal-arms-7")

    spec = made["spec"]["template"]["spec"]
    [container] = spec["containers"]
    same = ("image", "env", "resources", "securityContext", "volumeMounts")
    assert {key: container[key] for key in same} == {key: deployed.container[key] for key in same}
    assert container["args"] == ["--push-journal", "/journal"]
    assert container.keys() - {*same, "args", "name"} == set()
    assert {"name": "journal", "mountPath": "/journal"} in container["volumeMounts"]
    assert {"name": "journal", "persistentVolumeClaim": {"claimName": "journal-arms-7"}} in spec["volumes"]
    assert (spec["restartPolicy"], spec["serviceAccountName"]) == ("Never", "arms")
    assert spec["securityContext"] == deployed.pod["securityContext"]
    assert spec["enableServiceLinks"] is False
    assert made["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == "arms-journals"
    settings.read(ArmsSettings, deployed.environ())


def test_the_statefulset_that_it_is_made_from_stays_as_it_is():
    given_one = statefulset()
    before = repr(given_one)

    orphans.job(given_one, "journal-arms-7")

    assert repr(given_one) == before


def test_its_job_fits_the_schema():
    try:
        import kubernetes_validate  # noqa: PLC0415 - it may be absent
    except ImportError:
        absent("kubernetes-validate")

    kubernetes_validate.validate(orphans.job(statefulset(), "journal-arms-7"), "1.33", strict=True)
