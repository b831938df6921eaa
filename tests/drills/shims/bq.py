"""`bq query SQL` for the local BigQuery; the other words of `bq query` say what is so here in any case."""

import os
import sys
from pathlib import Path

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

settings = dict(
    line.split("=", 1) for line in Path(os.environ["SETTINGS"]).read_text(encoding="utf-8").splitlines() if "=" in line
)
if sys.argv[1:2] != ["query"]:
    sys.exit(f"bq {sys.argv[1:]}: not played here")
client = bigquery.Client(
    project="local",
    credentials=AnonymousCredentials(),
    client_options=ClientOptions(api_endpoint=settings["BIGQUERY_EMULATOR_HOST"]),
)
for row in client.query_and_wait(sys.argv[-1]):
    print(*row.values())
