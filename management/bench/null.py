"""The null writer: speaks as much of BigQuery as r2bq needs, takes its batches, counts their rows and keeps nothing.

`python -m management.bench.null PORT GRPC_PORT`: what is measured against it is r2bq itself, with all that it does for
BigQuery: rows made, requests serialized and sent. `GET /rows` answers how many rows were taken.
"""

import itertools
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.cloud.bigquery_storage_v1 import types

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryWrite"
THREADS = 16
_DATASET = {"datasetReference": {"projectId": "any", "datasetId": "any"}, "location": "US"}
_ALREADY_EXISTS, _OUT_OF_RANGE = 6, 11


class Null:
    """The write streams, each with how many rows it took."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.taken: dict[str, int] = {}

    def create(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Answer a new stream of a table."""
        name = f"{request.parent}/streams/s{next(self._numbers)}"
        self.taken[name] = 0
        return types.WriteStream.pb()(name=name)

    def append(self, requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        """Take the rows of each request, if they stand at the end of what was taken."""
        for request in requests:
            stream, offset = request.write_stream, request.offset.value
            ahead = offset - self.taken[stream]
            if ahead:
                code = _OUT_OF_RANGE if ahead > 0 else _ALREADY_EXISTS
                yield types.AppendRowsResponse.pb()(error={"code": code, "message": f"offset {offset}"})
                continue
            self.taken[stream] += len(request.proto_rows.rows.serialized_rows)
            yield types.AppendRowsResponse.pb()(append_result={"offset": {"value": offset}})

    def finalize(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Answer how many rows a stream took."""
        return types.FinalizeWriteStreamResponse.pb()(row_count=self.taken[request.name])


def serve(port: int, grpc_port: int) -> None:
    """Answer on both ports of loopback until the process is ended."""
    null = Null()
    handlers = {
        "CreateWriteStream": grpc.unary_unary_rpc_method_handler(
            null.create, types.CreateWriteStreamRequest.pb().FromString, _written
        ),
        "AppendRows": grpc.stream_stream_rpc_method_handler(
            null.append, types.AppendRowsRequest.pb().FromString, _written
        ),
        "FinalizeWriteStream": grpc.unary_unary_rpc_method_handler(
            null.finalize, types.FinalizeWriteStreamRequest.pb().FromString, _written
        ),
    }
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    server.start()
    _rest(port, null).serve_forever()


def _rest(port: int, null: Null) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer the rows, or to anything else that a dataset is there."""
            answer = {"rows": sum(null.taken.values())} if self.path == "/rows" else _DATASET
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _written(answer: Any) -> bytes:
    return bytes(answer.SerializeToString())


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
