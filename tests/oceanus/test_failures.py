"""Google's errors as they come, by REST and by gRPC, are ours: each says what the caller should do."""

import grpc
import pytest
from google.api_core import exceptions

from oceanus.errors import WarehouseBusyError, WarehouseDeniedError
from oceanus.warehouse.failures import translate


class Refused(grpc.RpcError):
    """What gRPC raises when the other side refuses a call."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "denied"


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED])
def test_who_is_refused_by_grpc_is_told_so(code):
    error = exceptions.from_grpc_status(code, "denied", errors=(Refused(code),), response=Refused(code))

    assert type(translate(error)) is WarehouseDeniedError


@pytest.mark.parametrize(
    ("reason", "ours"), [("rateLimitExceeded", WarehouseBusyError), ("accessDenied", WarehouseDeniedError)]
)
def test_a_403_is_a_quota_only_where_its_reason_says_so(reason, ours):
    error = exceptions.Forbidden("no", errors=[{"reason": reason}])

    assert type(translate(error)) is ours
