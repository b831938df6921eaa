"""One factory for all of Google's clients: endpoint and credentials are decided here and nowhere else."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.auth
import grpc
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport
from google.oauth2 import service_account

from oceanus.errors import MisconfiguredError, WarehouseBusyError, WarehouseError, WarehouseUnclearError
from oceanus.settings import WarehouseSettings
from oceanus.warehouse.failures import translated

ASK_SECONDS = 20.0
_SCOPES = ("https://www.googleapis.com/auth/bigquery", "https://www.googleapis.com/auth/cloud-platform")


@dataclass(frozen=True, slots=True)
class Clients:
    """Google's clients for one project."""

    project: str
    location: str
    rest: bigquery.Client
    write: BigQueryWriteClient
    credentials: Any = None


def connect(settings: WarehouseSettings) -> Clients:
    """Return the clients for the BigQuery that `settings` name.

    Raises MisconfiguredError if one emulator address is set without the other, or if there are no credentials.
    """
    rest_address, write_address = settings.emulator, settings.storage_emulator
    if bool(rest_address) != bool(write_address):
        missing = "BIGQUERY_EMULATOR_HOST" if write_address else "BIGQUERY_STORAGE_EMULATOR_HOST"
        raise MisconfiguredError(
            [f"{missing} is not set: a local BigQuery needs both addresses, real BigQuery neither"]
        )
    if rest_address:
        return _local(settings)
    credentials = _credentials(settings)
    return Clients(
        project=settings.project,
        location=settings.location,
        rest=bigquery.Client(project=settings.project, credentials=credentials, location=settings.location),
        write=BigQueryWriteClient(credentials=credentials),
        credentials=credentials,
    )


def check(clients: Clients, dataset: str) -> None:
    """Ask BigQuery free questions; raises MisconfiguredError with a line that says what to do."""
    away = why_away(clients, dataset)
    if away:
        raise MisconfiguredError([_sentence(clients.project, away)]) from away


def why_away(clients: Clients, dataset: str, seconds: float = ASK_SECONDS) -> WarehouseError | None:
    """Ask BigQuery free questions for up to `seconds` each; return what keeps it from answering now, if anything does.

    Raises MisconfiguredError if a person has to act: no right, no such project, another location.
    """
    try:
        _agree(clients, dataset, _location(clients, dataset, seconds))
    except (WarehouseUnclearError, WarehouseBusyError) as exc:
        return exc
    except WarehouseError as exc:
        raise MisconfiguredError([_sentence(clients.project, exc)]) from exc
    return None


def check_location(clients: Clients, dataset: str) -> None:
    """Raise MisconfiguredError if the dataset is elsewhere, where its tables would look missing to every query.

    A BigQuery that does not answer is no mistake here: whoever asks it next says so.
    """
    with suppress(WarehouseError):
        _agree(clients, dataset, _location(clients, dataset, ASK_SECONDS))


def _agree(clients: Clients, dataset: str, location: str | None) -> None:
    if location is not None and location.upper() != clients.location.upper():
        sentence = f"BQ_LOCATION={clients.location}: the dataset {dataset} is in {location}: set BQ_LOCATION to that"
        raise MisconfiguredError([sentence])


def _location(clients: Clients, dataset: str, seconds: float) -> str | None:
    """Return where the dataset is; None if it is not made yet. Raises WarehouseError."""
    retry = DEFAULT_RETRY.with_timeout(seconds)
    with translated():
        try:
            return str(clients.rest.get_dataset(f"{clients.project}.{dataset}", timeout=seconds, retry=retry).location)
        except NotFound:
            list(clients.rest.list_datasets(max_results=1, timeout=seconds, retry=retry))
            return None


def _sentence(project: str, error: WarehouseError) -> str:
    remedy = "check PROJECT_ID, the credentials (GOOGLE_APPLICATION_CREDENTIALS or the machine's own) and their role"
    return f"PROJECT_ID={project}: BigQuery cannot be used: {error}; {remedy}"


def _local(settings: WarehouseSettings) -> Clients:
    address = settings.emulator if "://" in settings.emulator else f"http://{settings.emulator}"
    anonymous = AnonymousCredentials()
    rest = bigquery.Client(
        project=settings.project,
        credentials=anonymous,
        location=settings.location,
        client_options=ClientOptions(api_endpoint=address),
    )
    channel = grpc.insecure_channel(settings.storage_emulator.removeprefix("http://"))
    write = BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))
    return Clients(project=settings.project, location=settings.location, rest=rest, write=write, credentials=anonymous)


def _credentials(settings: WarehouseSettings) -> Any:
    try:
        if settings.credentials:
            file = Path(settings.credentials)
            if not file.is_file():
                raise MisconfiguredError([f"GOOGLE_APPLICATION_CREDENTIALS={file}: there is no such file"])
            if '"service_account"' in file.read_text(encoding="utf-8"):
                return service_account.Credentials.from_service_account_file(str(file), scopes=_SCOPES)
        return google.auth.default(scopes=_SCOPES)[0]
    except (GoogleAuthError, ValueError, OSError) as exc:
        remedy = "set GOOGLE_APPLICATION_CREDENTIALS, or run where the machine has a service account"
        raise MisconfiguredError([f"PROJECT_ID={settings.project}: no Google credentials: {exc}; {remedy}"]) from exc
