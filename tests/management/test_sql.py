"""Answers of the local BigQuery, in three forms."""

import csv
import io
import json

import pytest

from management import sql
from oceanus.errors import WarehouseError
from oceanus.warehouse import Queries, Result

EVERY_TYPE = """
SELECT 9007199254740993 AS number, TIMESTAMP '2026-11-22 10:00:00.000001+09:00' AS moment,
  JSON '{"b": [1, 2.5], "a": null}' AS jsn, NUMERIC '0.10' AS price, b'abc' AS raw, DATE '2026-11-22' AS day,
  TRUE AS yes, CAST(NULL AS STRING) AS nothing, [1, 2] AS list, STRUCT('x' AS k) AS inner_row, 'mâcon 🍇 "q", x' AS word
"""


@pytest.fixture
def queries(warehouse):
    warehouse.clients.rest.create_dataset(warehouse.settings.dataset)
    return Queries(warehouse.clients, warehouse.settings.dataset)


def shown(result: Result, form: str) -> str:
    out = io.StringIO()
    sql.show(result, form, out)
    return out.getvalue()


def test_json_is_a_list_of_objects_no_digit_lost(queries):
    assert json.loads(shown(queries.select(EVERY_TYPE, 10**9), "json")) == [
        {
            "number": 9007199254740993,
            "moment": "2026-11-22T01:00:00.000001Z",
            "jsn": {"b": [1, 2.5], "a": None},
            "price": "0.1",
            "raw": "YWJj",
            "day": "2026-11-22",
            "yes": True,
            "nothing": None,
            "list": [1, 2],
            "inner_row": {"k": "x"},
            "word": 'mâcon 🍇 "q", x',
        }
    ]


def test_csv_has_a_header_and_what_is_nested_as_json(queries):
    header, row = csv.reader(shown(queries.select(EVERY_TYPE, 10**9), "csv").splitlines())

    assert header[:3] == ["number", "moment", "jsn"]
    assert json.loads(row[2]) == {"b": [1, 2.5], "a": None}
    assert (row[6], row[7], row[10]) == ("true", "", 'mâcon 🍇 "q", x')


def test_table_on_a_pipe_cuts_nothing(queries):
    assert "x" * 3000 in shown(queries.select("SELECT REPEAT('x', 3000) AS long, 1 AS one", 10**9), "table")


def test_rows_of_a_dataset_need_no_dataset_in_the_query(queries, warehouse):
    rest = warehouse.clients.rest
    rest.query_and_wait(f"CREATE TABLE `{warehouse.settings.dataset}.shop` AS SELECT 1 AS n")

    assert shown(queries.select("SELECT COUNT(*) AS n FROM shop", 10**9), "json") == '[\n{"n": 1}\n]\n'


def test_no_rows_are_an_empty_list(queries):
    assert json.loads(shown(queries.select("SELECT 1 AS n FROM (SELECT 1) WHERE FALSE", 10**9), "json")) == []


@pytest.mark.parametrize(
    "statement", ["DROP TABLE shop", "CREATE TABLE t AS SELECT 1 AS n", "SELEC 1", "SELECT 1; SELECT 2"]
)
def test_only_one_select_is_run(queries, statement):
    with pytest.raises(WarehouseError):
        queries.select(statement, 10**9)


def test_terminal_controls_in_a_value_are_shown_and_not_obeyed():
    result = Result([("ua", "STRING")], iter([("\x1b[31mred\nnext",)]))

    assert r"\x1b[31mred\x0anext" in shown(result, "table")


@pytest.mark.parametrize(("text", "size"), [("10GB", 10**10), ("500 mb", 5 * 10**8), ("1000", 1000), ("1tb", 10**12)])
def test_sizes_have_units(text, size):
    assert sql.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "0", "1.5GB", "10 apples", "1KGB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is no size"):
        sql.parse_bytes(text)
