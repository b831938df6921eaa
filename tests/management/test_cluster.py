"""The cluster as a pod sees it: `oceanus k8s journals` asks for what it may, and starts a Job for each volume left."""

import json

import httpx
import pytest
from click.testing import CliRunner, Result

from management import cluster, commands, k8s_commands
from management.cluster import Cluster, ClusterError
from oceanus.errors import MisconfiguredError
from tests.k8s.rendered import Workload, of_kind, overlay


class Api:
    """An API server that has what it is given, and keeps what is created."""

    def __init__(self, **lists: list[dict]) -> None:
        self.lists = lists
        self.created: list[dict] = []
        self.asked: set[tuple[str, str]] = set()
        self.refuses = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        *_, kind, name = ["", *request.url.path.split("/")]
        if self.refuses:
            return httpx.Response(403, json={"message": "jobs.batch is forbidden"})
        if request.method == "POST":
            self.asked.add((name, "create"))
            self.created.append(json.loads(request.content))
            return httpx.Response(201, json=self.created[-1])
        if kind == "statefulsets":
            self.asked.add((kind, "get"))
            found = Workload("gke", "arms").manifest
            return httpx.Response(200, json=found | {"spec": found["spec"] | {"replicas": 2}})
        self.asked.add((name, "list"))
        return httpx.Response(200, json={"items": self.lists[name]})

    def cluster(self) -> Cluster:
        http = httpx.Client(base_url="https://cluster.test", transport=httpx.MockTransport(self))
        return Cluster(http, "oceanus")


@pytest.fixture
def api(monkeypatch):
    claims = [{"metadata": {"name": f"journal-arms-{number}"}, "status": {"phase": "Bound"}} for number in range(4)]
    pods = [{"spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "journal-arms-0"}}]}, "status": {}}]
    made = Api(persistentvolumeclaims=claims, pods=pods)
    monkeypatch.setattr(k8s_commands.cluster, "inside", made.cluster)
    return made


def journals(*words: str) -> Result:
    return CliRunner().invoke(commands.oceanus, ("k8s", "journals", *words))


def test_each_volume_that_is_left_is_emptied_by_a_job(api):
    result = journals()

    assert result.exit_code == 0
    assert [one["metadata"]["generateName"] for one in api.created] == ["journal-arms-2-", "journal-arms-3-"]
    assert result.stdout.splitlines()[-1] == "2 volumes without an arms"


def test_a_dry_run_starts_nothing(api):
    assert "journal-arms-2: would be emptied by a Job" in journals("--dry-run").stdout
    assert api.created == []


def test_it_asks_for_what_its_role_allows_and_for_nothing_else(api):
    journals()

    [role] = of_kind(overlay("gke"), "Role").values()
    allowed = {(kind, verb) for rule in role["rules"] for kind in rule["resources"] for verb in rule["verbs"]}
    assert api.asked == allowed


def test_a_refusal_is_a_line_with_the_remedy(api):
    api.refuses = True

    result = journals()

    assert result.exit_code == 1
    assert "403: jobs.batch is forbidden; see the Role in k8s/base/management.yaml" in result.stderr


def test_no_answer_is_an_error_of_ours():
    def silent(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("no answer")

    http = httpx.Client(base_url="https://cluster.test", transport=httpx.MockTransport(silent))

    with pytest.raises(ClusterError, match="gave no answer"):
        Cluster(http, "oceanus").list("pods")


def test_elsewhere_than_in_a_pod_it_says_where_it_runs(tmp_path):
    with pytest.raises(MisconfiguredError) as raised:
        cluster.inside(tmp_path)

    assert "kubectl --namespace oceanus create job now --from=cronjob/journals" in raised.value.mistakes[0]
