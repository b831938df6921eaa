"""The cluster, as a pod sees the API server of its own: a few requests with its service account."""

import ssl
from pathlib import Path
from typing import Any

import httpx

from oceanus.errors import MisconfiguredError, OceanusError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ADDRESS = "https://kubernetes.default.svc"
SECONDS = 30.0


class ClusterError(OceanusError):
    """The API server did not do it: nothing was changed by this request; the next run tries again."""


class Cluster:
    """One namespace of a cluster."""

    def __init__(self, http: httpx.Client, namespace: str) -> None:
        self._http = http
        self._namespace = namespace

    def statefulset(self, name: str) -> dict[str, Any]:
        """Return a StatefulSet; raises ClusterError."""
        return self._ask("GET", f"/apis/apps/v1/namespaces/{self._namespace}/statefulsets/{name}")

    def list(self, kind: str) -> list[dict[str, Any]]:
        """Return all `pods` or `persistentvolumeclaims`; raises ClusterError."""
        return list(self._ask("GET", f"/api/v1/namespaces/{self._namespace}/{kind}")["items"])

    def create_job(self, manifest: dict[str, Any]) -> None:
        """Create a Job; raises ClusterError."""
        self._ask("POST", f"/apis/batch/v1/namespaces/{self._namespace}/jobs", manifest)

    def _ask(self, method: str, path: str, manifest: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=manifest)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise ClusterError(f"the API server gave no answer to {method} {path}: {exc}") from exc
        if answer.is_error:
            remedy = "see the Role in k8s/base/management.yaml"
            raise ClusterError(f"{method} {path}: {answer.status_code}: {told.get('message', '')}; {remedy}")
        return told


def inside(account: Path = ACCOUNT) -> Cluster:
    """Return the cluster that this pod runs in; raises MisconfiguredError where it runs in none."""
    try:
        token, namespace = ((account / name).read_text(encoding="utf-8").strip() for name in ("token", "namespace"))
        context = ssl.create_default_context(cafile=account / "ca.crt")
    except OSError as exc:
        remedy = "start it there: kubectl --namespace oceanus create job now --from=cronjob/journals"
        raise MisconfiguredError([f"this is no pod with a service account ({exc}); {remedy}"]) from exc
    headers = {"Authorization": f"Bearer {token}"}
    http = httpx.Client(base_url=ADDRESS, headers=headers, verify=context, timeout=SECONDS, trust_env=False)
    return Cluster(http, namespace)
