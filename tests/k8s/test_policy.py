"""What must hold of every pod: who it runs as, what it may take, how it is asked and stopped, what it is told."""

import re
import shutil
from dataclasses import fields, is_dataclass
from ipaddress import ip_network

import pytest

from oceanus import settings, sites, worker
from oceanus.settings import ArmsSettings, R2bqSettings, RevelationSettings, TableManagerSettings
from revelation import rules
from tests.k8s.rendered import (
    IMAGES,
    K8S,
    OVERLAYS,
    TOP,
    Workload,
    dns,
    of_kind,
    overlay,
    quantity,
    render,
    workloads,
)

GROUPS = {
    "arms": ArmsSettings,
    "r2bq": R2bqSettings,
    "table-manager": TableManagerSettings,
    "revelation": RevelationSettings,
}
SECRET = re.compile("PASSWORD|TOKEN|SECRET|CREDENTIALS|_KEY")
MIB = 2**20

every = pytest.mark.parametrize("one", workloads(), ids=lambda one: f"{one.overlay}-{one.name}")
every_process = pytest.mark.parametrize(
    "one", [one for one in workloads() if one.name in GROUPS], ids=lambda one: f"{one.overlay}-{one.name}"
)


def names_of(group: type) -> set[str]:
    """Return the variables that a process reads."""
    found: set[str] = set()
    for one in fields(group):
        found |= names_of(one.type) if is_dataclass(one.type) else {one.metadata["name"]}
    return found


# --- names


@pytest.mark.parametrize("folder", IMAGES)
def test_folder_manifest_and_image_are_named_alike(folder):
    own = [
        one for one in render(K8S / "base") if one["metadata"]["labels"].get("app.kubernetes.io/name") == dns(folder)
    ]

    assert (K8S / "base" / f"{dns(folder)}.yaml").exists()
    assert (TOP / folder).is_dir()
    for one in own:
        if one["kind"] in ("StatefulSet", "Deployment"):
            assert one["metadata"]["name"] == dns(folder)


@every
def test_an_image_is_that_of_its_folder_and_has_a_version(one: Workload):
    folder, tag = re.fullmatch(r".*/(\w+):(\S+)", one.container["image"]).groups()

    assert folder == ("management" if one.name == "journals" else one.name.replace("-", "_"))
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", tag)
    assert dns(folder) == one.container["name"]


def test_every_image_is_a_target_of_a_dockerfile():
    if not (TOP / "Dockerfile").exists():
        pytest.skip("there is no Dockerfile yet")
    text = (TOP / "Dockerfile").read_text(encoding="utf-8") + (TOP / "redis_pd/Dockerfile").read_text(encoding="utf-8")

    assert set(IMAGES) <= set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_workload_of_an_overlay_is_looked_at_here(name):
    found = {
        one["metadata"]["name"] for one in overlay(name) if {"template", "jobTemplate"} & one.get("spec", {}).keys()
    }

    assert found == {one.name for one in workloads() if one.overlay == name}


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_says_whose_it_is(name):
    for one in overlay(name):
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "oceanus"
        assert labels["app.kubernetes.io/name"] in {"shared", *map(dns, IMAGES)}, one["metadata"]["name"]


# --- security


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_namespace_takes_restricted_pods_alone(name):
    [space] = of_kind(overlay(name), "Namespace").values()

    levels = {key: value for key, value in space["metadata"]["labels"].items() if key.startswith("pod-security")}
    assert levels == {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


@every
def test_a_pod_is_what_the_level_restricted_asks_for_and_more(one: Workload):
    pod, container = one.pod, one.container

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "initContainers"} & pod.keys()
    for volume in pod.get("volumes", []):
        assert volume.keys() - {"name"} <= {"configMap", "emptyDir"}
        assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


@every
def test_services_of_the_cluster_set_no_variables_of_ours(one: Workload):
    assert one.pod["enableServiceLinks"] is False


@every
def test_each_has_an_account_of_its_own_and_management_alone_speaks_to_the_cluster(one: Workload):
    account = one.pod["serviceAccountName"]

    assert account == ("management" if one.name == "journals" else one.name)
    assert of_kind(overlay(one.overlay), "ServiceAccount")[account]["automountServiceAccountToken"] is False
    assert one.pod["automountServiceAccountToken"] is (one.name == "journals")


@pytest.mark.parametrize("name", OVERLAYS)
def test_management_may_look_at_arms_and_its_volumes_and_start_jobs(name):
    [role] = of_kind(overlay(name), "Role").values()

    allowed = {(kind, verb) for rule in role["rules"] for kind in rule["resources"] for verb in rule["verbs"]}
    assert allowed == {
        ("statefulsets", "get"),
        ("pods", "list"),
        ("persistentvolumeclaims", "list"),
        ("jobs", "create"),
    }
    assert not of_kind(overlay(name), "ClusterRole")


@every
def test_no_secret_is_written_down(one: Workload):
    for variable in one.container.get("env", []):
        if SECRET.search(variable["name"]):
            assert set(variable["valueFrom"]) == {"secretKeyRef"}, variable["name"]
    assert not of_kind(overlay(one.overlay), "Secret")


# --- what it may take


@every
def test_a_container_says_what_it_needs_and_takes_no_more(one: Workload):
    needs, most = one.container["resources"]["requests"], one.container["resources"]["limits"]

    assert needs["memory"] == most["memory"]
    assert 0 < quantity(needs["cpu"]) <= quantity(most["cpu"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_redis_has_the_memory_and_the_disk_that_its_ceiling_asks_for(name):
    redis = Workload(name, "redis-pd")
    ceiling = quantity(redis.environ()["REDIS_MAXMEMORY"])

    assert quantity(redis.container["resources"]["limits"]["memory"]) >= 2 * ceiling + 256 * MIB
    assert quantity(redis.claim()["resources"]["requests"]["storage"]) >= 4 * ceiling
    assert redis.manifest["spec"]["replicas"] == 1
    assert redis.claim()["accessModes"] == ["ReadWriteOnce" if name == "local" else "ReadWriteOncePod"]


def test_redis_on_gke_has_a_disk_in_two_zones_that_outlives_its_claim():
    [disk] = of_kind(overlay("gke"), "StorageClass").values()

    assert Workload("gke", "redis-pd").claim()["storageClassName"] == disk["metadata"]["name"]
    assert disk["parameters"]["replication-type"] == "regional-pd"
    assert (disk["reclaimPolicy"], disk["allowVolumeExpansion"]) == ("Retain", True)


def test_redis_conf_is_the_shipped_one():
    words = " ".join(Workload("gke", "redis-pd").container["args"])
    if not (TOP / "redis_pd/Dockerfile").exists():
        pytest.skip("there is no redis_pd/Dockerfile yet")
    image = (TOP / "redis_pd/Dockerfile").read_text(encoding="utf-8")

    assert words == "--protected-mode no"  # and nothing that weakens what the guarantee needs
    [path] = re.findall(r"^COPY redis\.conf (\S+)$", image, re.MULTILINE)
    assert f"redis-server {path}" in image
    assert "REDIS_MAXMEMORY" in image
    assert "USER 999:999" in image


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_journal_fits_into_its_volume(name):
    arms = Workload(name, "arms")
    room = quantity(arms.claim()["resources"]["requests"]["storage"])

    assert int(arms.environ()["JOURNAL_MAX_BYTES"]) <= 0.6 * room
    assert {"name": "journal", "mountPath": arms.environ()["JOURNAL_DIR"]} in arms.container["volumeMounts"]
    kept = {"whenScaled": "Retain", "whenDeleted": "Retain"}
    assert arms.manifest["spec"]["persistentVolumeClaimRetentionPolicy"] == kept


@pytest.mark.parametrize("name", OVERLAYS)
def test_of_what_there_is_more_than_one_a_drained_node_takes_one_at_a_time(name):
    scaled = {
        one["spec"]["scaleTargetRef"]["name"] for one in of_kind(overlay(name), "HorizontalPodAutoscaler").values()
    }
    several = {"arms", "r2bq"}
    budgets = of_kind(overlay(name), "PodDisruptionBudget")

    assert set(budgets) == several
    assert {one["spec"]["maxUnavailable"] for one in budgets.values()} == {1}
    assert scaled == (set() if name == "local" else {"arms"})
    for one in several:
        keys = [each["topologyKey"] for each in Workload(name, one).pod["topologySpreadConstraints"]]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_scaling_down_takes_one_arms_at_a_time_and_lets_each_leave():
    arms = Workload("gke", "arms")
    [scaler] = of_kind(overlay("gke"), "HorizontalPodAutoscaler").values()
    [policy] = scaler["spec"]["behavior"]["scaleDown"]["policies"]

    assert (policy["type"], policy["value"]) == ("Pods", 1)
    assert policy["periodSeconds"] > arms.pod["terminationGracePeriodSeconds"]
    assert "replicas" not in arms.manifest["spec"], "each apply would take back what the autoscaler has decided"
    assert scaler["spec"]["minReplicas"] >= 2


# --- how it is asked, and stopped


@every_process
def test_probes_ask_what_the_process_answers(one: Workload):
    probes = {kind: one.container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    port = {port["name"]: port["containerPort"] for port in one.container["ports"]}

    ready = "/lb" if one.name == "arms" else "/hc"
    assert probes == {
        "startup": {"path": "/hc", "port": "health"},
        "liveness": {"path": "/hc", "port": "health"},
        "readiness": {"path": ready, "port": "health"},
    }
    assert port == {"health": int(one.environ()["PORT"])}


@every_process
def test_kubernetes_waits_longer_than_the_process_does(one: Workload):
    hook = one.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    most = float(hook[-1]) if hook else 0.0

    grace = int(one.environ().get("GRACE_SECONDS", "2"))
    assert one.pod["terminationGracePeriodSeconds"] >= most + grace + 10


@pytest.mark.parametrize("name", OVERLAYS)
def test_arms_leaves_the_balancer_and_its_journal_before_it_is_stopped(name):
    *command, least, most = Workload(name, "arms").container["lifecycle"]["preStop"]["exec"]["command"]

    assert command == ["python", "-m", "arms", "--before-stop"]
    assert 0 < float(least) < float(most)
    if name != "local":
        health = of_kind(overlay(name), "HealthCheckPolicy")["arms"]["spec"]["default"]
        assert float(least) > 2 * health["checkIntervalSec"] * health["unhealthyThreshold"]


# --- what it is told


@every_process
def test_every_variable_is_one_that_the_process_reads_and_all_are_right(one: Workload):
    told = one.environ()

    assert told.keys() - names_of(GROUPS[one.name]) == set()
    settings.read(GROUPS[one.name], told)
    assert told["REDIS_PD_SERVICE_HOST"] in of_kind(overlay(one.overlay), "Service")


@every_process
def test_it_has_the_sites_and_the_rules_of_its_overlay(one: Workload):
    told, volumes = one.environ(), {volume["name"]: volume for volume in one.pod["volumes"]}
    mounted = {
        mount["mountPath"]: volumes[mount["name"]] for mount in one.container["volumeMounts"] if mount.get("readOnly")
    }
    maps = of_kind(overlay(one.overlay), "ConfigMap")

    for variable in {"SITES_FILE", "ALERTS_FILE"} & told.keys():
        folder, _, file = told[variable].rpartition("/")
        assert file in maps[mounted[folder]["configMap"]["name"]]["data"]


@pytest.mark.parametrize("name", ["local", "gke"])
def test_the_sites_and_rules_of_an_overlay_are_right(name):
    folder = K8S / "overlays" / name
    declared = sites.load(str(folder / "sites.yaml"))

    assert rules.load(str(folder / "alerts.yaml"), declared).rules


def test_the_local_overlay_begins_with_the_samples():
    folder = K8S / "overlays" / "local"

    assert (folder / "sites.yaml").read_text(encoding="utf-8") == sites.SAMPLE.read_text(encoding="utf-8")
    assert (folder / "alerts.yaml").read_bytes() == (TOP / "revelation" / "sample_alerts.yaml").read_bytes()


def test_a_changed_sites_yaml_rolls_those_who_read_it_and_nobody_else(tmp_path):
    shutil.copytree(K8S, tmp_path / "k8s")
    file = tmp_path / "k8s" / "overlays" / "gke" / "sites.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")

    after = [
        one for one in render(tmp_path / "k8s" / "overlays" / "gke") if one["kind"] in ("StatefulSet", "Deployment")
    ]

    rolled = {
        one["metadata"]["name"]
        for one in after
        if one["spec"]["template"] != Workload("gke", one["metadata"]["name"]).manifest["spec"]["template"]
    }
    assert rolled == {"arms", "r2bq", "table-manager", "revelation"}


# --- the way in


def test_arms_trusts_googles_balancer_and_nobody_else_in_front():
    trusted = {name: Workload(name, "arms").environ()["TRUSTED_PROXIES"] for name in OVERLAYS}

    assert trusted == {"local": "0", "gke": "2", "gke-keda": "2"}


@every_process
def test_probes_and_scrapes_come_from_addresses_that_are_internal_and_visitors_do_not(one: Workload):
    internal = settings.read(GROUPS[one.name], one.environ()).internal

    inside = ("10.128.0.7", "10.4.1.9", "172.17.0.1", "192.168.1.2", "100.64.3.4", "169.254.1.1", "127.0.0.1")
    assert [address for address in inside if not worker.is_internal(address, internal)] == []
    outside = ("35.191.10.3", "130.211.1.4", "203.0.113.7", "8.8.8.8", "2001:db8::7")
    assert [address for address in outside if worker.is_internal(address, internal)] == []


def test_googles_front_ends_are_not_internal():
    read = settings.read(ArmsSettings, Workload("gke", "arms").environ())

    for network in map(ip_network, ("35.191.0.0/16", "130.211.0.0/22")):
        assert not any(network.overlaps(one) for one in read.internal)


def test_the_world_reaches_every_route_of_arms_but_those_of_operators():
    text = (TOP / "arms" / "app.py").read_text(encoding="utf-8")
    routes = set(re.findall(r'add_route\("([^"]+)"', text))
    matches = [match["path"] for rule in _route()["rules"] for match in rule["matches"]]

    def is_open(route: str) -> bool:
        exact = {"type": "Exact", "value": route}
        return exact in matches or {"type": "PathPrefix", "value": "/" + route.split("/")[1]} in matches

    assert {route for route in routes if not is_open(route)} == {"/", "/hc", "/rstatus", "/metrics"}
    for path in matches:
        assert any(route == path["value"] or route.startswith(f"{path['value']}/") for route in routes)


def test_the_balancer_asks_lb_and_limits_the_rate_and_has_its_address_and_certificate():
    manifests = overlay("gke")
    health = of_kind(manifests, "HealthCheckPolicy")["arms"]["spec"]
    backend = of_kind(manifests, "GCPBackendPolicy")["arms"]["spec"]
    gateway = of_kind(manifests, "Gateway")["oceanus"]

    asked = {"portSpecification": "USE_FIXED_PORT", "port": 8080, "requestPath": "/lb"}
    assert health["default"]["config"] == {"type": "HTTP", "httpHealthCheck": asked}
    assert backend["default"]["securityPolicy"] == "oceanus"
    assert {one["targetRef"]["name"] for one in (health, backend)} == {"arms"}
    assert gateway["metadata"]["annotations"] == {"networking.gke.io/certmap": "oceanus"}
    assert gateway["spec"]["addresses"] == [{"type": "NamedAddress", "value": "oceanus"}]


def test_the_name_and_the_project_stand_in_one_file(tmp_path):
    shutil.copytree(K8S, tmp_path / "k8s")
    file = tmp_path / "k8s" / "overlays" / "gke" / "target.env"
    text = file.read_text(encoding="utf-8").replace("beacons.example.com", "b.shop.test").replace("my-project", "p-1")
    file.write_text(text, encoding="utf-8")

    manifests = render(tmp_path / "k8s" / "overlays" / "gke-keda")

    assert {tuple(one["spec"]["hostnames"]) for one in of_kind(manifests, "HTTPRoute").values()} == {("b.shop.test",)}
    [scaled] = of_kind(manifests, "ScaledObject").values()
    address = scaled["spec"]["triggers"][0]["metadata"]["serverAddress"]
    assert address == "https://monitoring.googleapis.com/v1/projects/p-1/location/global/prometheus"


def test_what_keda_asks_for_is_a_metric_of_r2bq():
    [scaled] = of_kind(overlay("gke-keda"), "ScaledObject").values()
    [name] = re.findall(r"oceanus_\w+", scaled["spec"]["triggers"][0]["metadata"]["query"])

    assert f'"{name}"' in (TOP / "r2bq" / "metrics.py").read_text(encoding="utf-8")
    assert "replicas" not in Workload("gke-keda", "r2bq").manifest["spec"]


def _route() -> dict:
    return dict(of_kind(overlay("gke"), "HTTPRoute")["arms"]["spec"])
