"""Permissions: which of them these credentials hold, as Google's IAM says. Nothing is changed, nothing costs.

Project: cloud.google.com/resource-manager/reference/rest/v1/projects/testIamPermissions, for which no permission is
needed. Tables: cloud.google.com/bigquery/docs/reference/rest/v2/tables/testIamPermissions; what a role on a dataset
gives shows at its tables alone.
"""

from collections.abc import Iterable, Sequence

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.cloud.bigquery.retry import DEFAULT_RETRY

from oceanus.errors import WarehouseError
from oceanus.warehouse.clients import Clients
from oceanus.warehouse.failures import translated

ADDRESS = "https://cloudresourcemanager.googleapis.com"
SECONDS = 20
_RETRY = DEFAULT_RETRY.with_timeout(SECONDS)


class Permissions:
    """Asks what the credentials of some clients may do. `address`: another one, for tests."""

    def __init__(self, clients: Clients, address: str = ADDRESS) -> None:
        self._clients = clients
        self._address = address.rstrip("/")

    def on_project(self, wanted: Iterable[str]) -> set[str]:
        """Return those that hold for the whole project; raises WarehouseError if that cannot be asked."""
        url = f"{self._address}/v1/projects/{self._clients.project}:testIamPermissions"
        try:
            with AuthorizedSession(self._clients.credentials) as session:
                answer = session.post(url, json={"permissions": sorted(wanted)}, timeout=SECONDS)
                answer.raise_for_status()
                return set(answer.json().get("permissions", ()))
        except (requests.RequestException, GoogleAuthError, ValueError) as exc:
            raise WarehouseError(f"permissions cannot be asked for: {' '.join(str(exc).split())[:300]}") from exc

    def on_tables(self, wanted: Iterable[str], paths: Sequence[str]) -> set[str] | None:
        """Return those that hold for each of these tables (`dataset.table`) that stands; None where none does.

        Raises WarehouseError.
        """
        asked = sorted(wanted)
        held: set[str] | None = None
        for path in paths:
            with translated():
                try:
                    table = f"{self._clients.project}.{path}"
                    answer = self._clients.rest.test_iam_permissions(table, asked, timeout=SECONDS, retry=_RETRY)
                except exceptions.NotFound:
                    continue
            found = set(answer.get("permissions", ()))
            held = found if held is None else held & found
        return held
