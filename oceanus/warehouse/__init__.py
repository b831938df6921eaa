"""The warehouse: BigQuery, real or local, as oceanus uses it. Nothing above this package knows Google's clients.

`connect` is the one place that knows which of the two it is; all else gets the same clients either way.
"""

from oceanus.warehouse.catalog import Catalog
from oceanus.warehouse.clients import Clients, connect
from oceanus.warehouse.queries import Queries, Result
from oceanus.warehouse.writer import Writer

__all__ = ["Catalog", "Clients", "Queries", "Result", "Writer", "connect"]
