"""The arrows of the picture (DESIGN, section 1) are the NetworkPolicies, at both of their ends, and nothing else is."""

from typing import Any

import pytest

from tests.k8s.rendered import OVERLAYS, Manifest, Workload, of_kind, overlay

PODS = ("arms", "arms-journals", "r2bq", "table-manager", "revelation", "redis-pd", "management")
SCRAPED = {"arms": 8080, "r2bq": 8081, "table-manager": 8082, "revelation": 8083}
WHO_USES_REDIS = ("arms", "arms-journals", "r2bq", "table-manager", "revelation")
WHO_USES_BIGQUERY = ("r2bq", "table-manager", "revelation")

INSIDE = {(one, "redis-pd", 6379) for one in WHO_USES_REDIS}
NAMES = {
    (where, port)
    for where in ("namespace kubernetes.io/metadata.name=kube-system", "169.254.20.10/32", "169.254.169.254/32")
    for port in (53,)
}
GOOGLE = {("0.0.0.0/0 but private", 443)}
OUTWARD = {
    "arms": set(),
    "arms-journals": set(),
    "redis-pd": set(),
    "r2bq": GOOGLE,
    "table-manager": GOOGLE,
    "revelation": GOOGLE | {("0.0.0.0/0 but private", 465), ("0.0.0.0/0 but private", 587)},
    "management": {("anywhere", 443), ("anywhere", 6443)},
}
METADATA = {("169.254.169.254/32", port) for port in (80, 8080)} | {("169.254.169.252/32", port) for port in (987, 988)}
OUTWARD_BESIDE = {
    "local": {one: {("anywhere", 9050), ("anywhere", 9060)} for one in WHO_USES_BIGQUERY},
    "gke": dict.fromkeys(WHO_USES_BIGQUERY, METADATA),
}
SCRAPER = "namespace oceanus.scrapes=true"
BALANCER = {("35.191.0.0/16", 8080), ("130.211.0.0/22", 8080)}
GOOGLES_SCRAPER = "namespace kubernetes.io/metadata.name in gmp-system,gke-gmp-system"
PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"]


def labels(name: str, pod: str) -> dict[str, str]:
    """Return the labels of a pod; those of the Jobs are what management gives them."""
    if pod == "arms-journals":
        return {"app.kubernetes.io/name": pod}
    found = Workload(name, "journals" if pod == "management" else pod).template["metadata"]["labels"]
    return dict(found)


def selects(selector: Manifest, given: dict[str, str]) -> bool:
    """Say whether a label selector is true of labels."""
    exact = all(given.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    among = selector.get("matchExpressions", [])
    assert {one["operator"] for one in among} <= {"In"}
    return exact and all(given.get(one["key"]) in one["values"] for one in among)


def peers(name: str, rule: Manifest, end: str) -> set[str]:
    """Return whom a rule speaks of: pods of ours by name, everything else in words."""
    if end not in rule:
        return {"anywhere"}
    found = set()
    for peer in rule[end]:
        if "ipBlock" in peer:
            without = peer["ipBlock"].get("except", [])
            assert without in ([], PRIVATE)
            found.add(peer["ipBlock"]["cidr"] + (" but private" if without else ""))
        elif "namespaceSelector" in peer:
            assert set(peer) == {"namespaceSelector"}
            found.add(f"namespace {words(peer['namespaceSelector'])}")
        else:
            found |= {pod for pod in PODS if selects(peer["podSelector"], labels(name, pod))}
    return found


def words(selector: Manifest) -> str:
    exact = [f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()]
    among = [f"{one['key']} in {','.join(one['values'])}" for one in selector.get("matchExpressions", [])]
    return " ".join(exact + among)


def opened(name: str, pod: str, direction: str) -> set[tuple[str, int]]:
    """Return to whom (`egress`), or from whom (`ingress`), and at which port a pod may speak."""
    end = {"egress": "to", "ingress": "from"}[direction]
    found = set()
    for policy in of_kind(overlay(name), "NetworkPolicy").values():
        if not selects(policy["spec"]["podSelector"], labels(name, pod)):
            continue
        for rule in policy["spec"].get(direction, []):
            assert direction.title() in policy["spec"]["policyTypes"]
            assert rule["ports"], "a rule without ports opens all of them"
            found |= {(peer, number(name, pod, port)) for peer in peers(name, rule, end) for port in rule["ports"]}
    return found


def number(name: str, pod: str, port: dict[str, Any]) -> int:
    if isinstance(port["port"], int):
        return port["port"]
    [found] = [one for one in Workload(name, pod).container["ports"] if one["name"] == port["port"]]
    return int(found["containerPort"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_is_open_that_no_policy_opens(name):
    policy = of_kind(overlay(name), "NetworkPolicy")["default-deny"]["spec"]

    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_arrows_between_our_pods_are_open_at_both_ends_and_no_other(name):
    out = {(pod, peer, port) for pod in PODS for peer, port in opened(name, pod, "egress") if peer in PODS}
    into = {(peer, pod, port) for pod in PODS for peer, port in opened(name, pod, "ingress") if peer in PODS}

    assert (out, into) == (INSIDE, INSIDE)


@pytest.mark.parametrize("pod", PODS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_outward_a_pod_reaches_what_it_needs_and_nothing_else(name, pod):
    outward = {(peer, port) for peer, port in opened(name, pod, "egress") if peer not in PODS}

    beside = OUTWARD_BESIDE["local" if name == "local" else "gke"].get(pod, set())
    assert outward == NAMES | OUTWARD[pod] | beside


@pytest.mark.parametrize("pod", PODS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_from_outside_the_balancer_reaches_arms_and_prometheus_the_metrics(name, pod):
    inward = {(peer, port) for peer, port in opened(name, pod, "ingress") if peer not in PODS}

    scrapers = [SCRAPER] if name == "local" else [SCRAPER, GOOGLES_SCRAPER]
    scraped = {(one, SCRAPED[pod]) for one in scrapers if pod in SCRAPED}
    assert inward == scraped | (BALANCER if pod == "arms" and name != "local" else set())
