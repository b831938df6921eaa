"""The writer: rows into committed streams of the Storage Write API, one append at an offset at a time.

An append is one request on a call of its own: a long-open call would hold a server thread, and its client library
retries with a half-read iterator, which loses rows without an error. So: no retry, a deadline, and every part of the
answer looked at.
"""

from collections.abc import Sequence

import grpc
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from oceanus.errors import RowsRefusedError, TableMissingError, WarehouseUnclearError
from oceanus.tables import Column, Row, Table
from oceanus.warehouse.clients import Clients
from oceanus.warehouse.failures import append_failure, translated

APPEND_SECONDS = 10.0
_FIELD = descriptor_pb2.FieldDescriptorProto
# How the Storage Write API takes each type: cloud.google.com/bigquery/docs/supported-data-types
_WIRE = {
    "STRING": _FIELD.TYPE_STRING,
    "JSON": _FIELD.TYPE_STRING,
    "TIMESTAMP": _FIELD.TYPE_INT64,
    "INT64": _FIELD.TYPE_INT64,
    "FLOAT64": _FIELD.TYPE_DOUBLE,
    "BOOL": _FIELD.TYPE_BOOL,
}


class Writer:
    """Writes rows to streams."""

    def __init__(self, clients: Clients) -> None:
        self._project = clients.project
        self._client = clients.write
        self._formats: dict[tuple[Column, ...], _Format] = {}

    def create_stream(self, path: str) -> str:
        """Return the name of a new committed stream to `dataset.table`; raises TableMissingError if there is none."""
        dataset, _, table = path.partition(".")
        parent = f"projects/{self._project}/datasets/{dataset}/tables/{table}"
        stream = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
        with translated():
            made = self._client.create_write_stream(parent=parent, write_stream=stream, retry=None, timeout=30)
        return str(made.name)

    def write(self, table: Table, stream: str, offset: int, rows: Sequence[Row]) -> None:
        """Append `rows` to `stream` at `offset`; returning means that they are all in the table.

        Raises RowsRefusedError (nothing of the request is written), OffsetTakenError, StreamGoneError,
        WarehouseBusyError, or WarehouseUnclearError, after which the same call may be repeated.
        """
        request = self.request(table, stream, offset, rows)
        metadata = (("x-goog-request-params", f"write_stream={stream}"),)
        try:
            with translated():
                answers = self._client.append_rows(
                    iter([request]), retry=None, timeout=APPEND_SECONDS, metadata=metadata
                )
                answer = next(iter(answers), None)
        except TableMissingError as exc:
            raise append_failure(5, str(exc)) from exc
        except Exception as exc:
            cause = exc.__cause__
            if isinstance(cause, exceptions.GoogleAPICallError) and isinstance(cause.grpc_status_code, grpc.StatusCode):
                raise append_failure(cause.grpc_status_code.value[0], cause.message) from cause
            raise
        self._judge(answer)

    def finalize(self, stream: str) -> int | None:
        """Close `stream` for good and return how many rows it took; None if BigQuery does not know it any more."""
        try:
            with translated():
                return int(self._client.finalize_write_stream(name=stream, retry=None, timeout=30).row_count)
        except TableMissingError:
            return None
        except Exception as exc:
            if isinstance(exc.__cause__, exceptions.InvalidArgument):
                return None
            raise

    def request(self, table: Table, stream: str, offset: int, rows: Sequence[Row]) -> types.AppendRowsRequest:
        """Return what an append sends."""
        form = self._formats.get(table.columns) or self._formats.setdefault(table.columns, _Format(table.columns))
        request = types.AppendRowsRequest(write_stream=stream, offset=offset)
        sent = types.AppendRowsRequest.pb(request).proto_rows
        sent.writer_schema.proto_descriptor.CopyFrom(form.descriptor)
        sent.rows.MergeFromString(form.encode(rows))
        return request

    def _judge(self, answer: types.AppendRowsResponse | None) -> None:
        if answer is None:
            raise WarehouseUnclearError("append: the call ended without an answer")
        if answer.row_errors:
            raise RowsRefusedError({error.index: error.message for error in answer.row_errors})
        if answer.error.code:
            raise append_failure(answer.error.code, answer.error.message)


class _Format:
    """How rows of some columns are written as protocol buffers.

    A message whose field 1 repeats a message is, on the wire, one whose field 1 repeats its bytes: so all rows of an
    append are made and written in one call, as the ProtoRows that BigQuery asks for (protobuf.dev/programming-guides/
    encoding, length-delimited records).
    """

    def __init__(self, columns: tuple[Column, ...]) -> None:
        file = descriptor_pb2.FileDescriptorProto(name="row.proto", package="oceanus")
        self.descriptor = file.message_type.add(name="Row")
        for number, column in enumerate(columns, 1):
            label = _FIELD.LABEL_OPTIONAL
            self.descriptor.field.add(name=column.name, number=number, type=_WIRE[column.type], label=label)
        rows = file.message_type.add(name="Rows").field
        rows.add(name="rows", number=1, type=_FIELD.TYPE_MESSAGE, type_name=".oceanus.Row", label=_FIELD.LABEL_REPEATED)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._rows: type[Message] = message_factory.GetMessageClass(pool.FindMessageTypeByName("oceanus.Rows"))

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return ProtoRows of these rows."""
        return self._rows(rows=rows).SerializeToString()
