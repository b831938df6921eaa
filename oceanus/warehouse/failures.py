"""Google's errors as ours: what was written, and what the caller should do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError

from oceanus.errors import (
    OffsetTakenError,
    StreamGoneError,
    TableMissingError,
    TableTroubleError,
    WarehouseBusyError,
    WarehouseDeniedError,
    WarehouseError,
    WarehouseUnclearError,
)

# Answers that say nothing about whether the request was carried out.
_UNCLEAR = (
    exceptions.ServerError,
    exceptions.Cancelled,
    exceptions.Aborted,
    exceptions.Unknown,
    exceptions.DeadlineExceeded,
    exceptions.RetryError,
    requests.RequestException,
    TransportError,
    ConnectionError,
    TimeoutError,
)
_BUSY = (exceptions.TooManyRequests, exceptions.ResourceExhausted)
_DENIED = (exceptions.Forbidden, exceptions.Unauthorized, exceptions.Unauthenticated, GoogleAuthError)


@contextmanager
def translated() -> Iterator[None]:
    """Turn Google's errors into ours; what is not theirs passes."""
    try:
        yield
    except Exception as exc:
        known = translate(exc)
        if known is None:
            raise
        raise known from exc


def translate(error: Exception) -> WarehouseError | None:
    """Return the error of ours that `error` means; None for one that is not about BigQuery."""
    sentence = f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
    if isinstance(error, exceptions.NotFound):
        return TableMissingError(sentence)
    if isinstance(error, _BUSY) or (isinstance(error, exceptions.Forbidden) and _is_quota(error)):
        return WarehouseBusyError(sentence)
    if isinstance(error, _UNCLEAR):
        return WarehouseUnclearError(sentence)
    if isinstance(error, _DENIED):
        return WarehouseDeniedError(sentence)
    if isinstance(error, exceptions.GoogleAPICallError):
        return WarehouseError(sentence)
    return None


def append_failure(code: int, message: str) -> WarehouseError:
    """Return the error of ours for a status that an append answered (google.rpc.Code).

    The local BigQuery answers INVALID_ARGUMENT for an unknown or finalised stream, BigQuery also NOT_FOUND and
    FAILED_PRECONDITION: cloud.google.com/bigquery/docs/write-api (StorageError).
    """
    sentence, lower = f"append: {message} (code {code})", message.lower()
    if code == 6:
        return OffsetTakenError(sentence)
    if code in (5, 9, 11) or "finalized" in lower or "invalid stream name" in lower or "stream_not_found" in lower:
        return StreamGoneError(sentence)
    if code == 8:
        return WarehouseBusyError(sentence)
    if code == 3:
        return TableTroubleError(sentence)
    if code in (7, 16):
        return WarehouseDeniedError(sentence)
    return WarehouseUnclearError(sentence)


def _is_quota(error: exceptions.Forbidden) -> bool:
    told = (entry for entry in error.errors or [] if isinstance(entry, Mapping))  # gRPC has its own errors there
    return any(entry.get("reason") in ("quotaExceeded", "rateLimitExceeded") for entry in told)
