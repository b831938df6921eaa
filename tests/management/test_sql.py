"""Answers of the local BigQuery, in three forms."""

import csv
import io
import json
import time
from datetime import UTC, datetime

import pytest

from management import sql
from oceanus.errors import WarehouseError, WarehouseUnclearError
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


def shown(result: Result, form: str, width: int | None = None) -> str:
    out = io.StringIO()
    sql.show(result, form, out, width)
    return out.getvalue()


def refused(queries: Queries, statement: str) -> list[str]:
    """Return what an operator is told of a query that BigQuery refuses."""
    with pytest.raises(WarehouseError) as caught:
        queries.select(statement, 10**9)
    return sql.sentence(caught.value)


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


def test_table_on_a_pipe_is_framed():
    result = Result([("word", "STRING"), ("n", "INTEGER")], iter([("日本", 7), (None, None)]))

    assert shown(result, "table") == (
        "+------+---+\n| word | n |\n+------+---+\n| 日本 | 7 |\n|      |   |\n+------+---+\n"
    )


def test_table_that_fits_the_terminal_has_no_boxes_and_numbers_at_the_right():
    result = Result([("word", "STRING"), ("views", "INTEGER")], iter([("日本", 7), ("shop", 12)]))

    assert shown(result, "table", 11) == "word  views\n----  -----\n日本      7\nshop     12\n"


def test_table_that_does_not_fit_becomes_a_block_for_each_row_with_nothing_folded():
    columns = [("dt", "TIMESTAMP"), ("number", "INTEGER"), ("url", "STRING")]
    rows = [(datetime(2026, 11, 22, tzinfo=UTC), 1234567890123456789, "x" * 300), (None, 1, "")]

    assert shown(Result(columns, iter(rows)), "table", 60).splitlines() == [
        "-[ row 1 ]-",
        "    dt: 2026-11-22T00:00:00Z",
        "number: 1234567890123456789",
        f"   url: {'x' * 300}",
        "-[ row 2 ]-",
        "    dt:",
        "number: 1",
        "   url:",
    ]


@pytest.mark.parametrize("width", [None, 80])
def test_empty_table_says_so(width):
    assert shown(Result([("n", "INTEGER")], iter([])), "table", width).splitlines()[-1] == "0 rows"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (1000, None),
        (1001, "first 1,000 of 1,001 rows; --format csv gives all"),
        (10**9, "first 1,000 of more than 20,000 rows; --format csv gives all"),
    ],
)
def test_long_table_ends_after_a_thousand_rows_and_says_so_at_once(rows, said):
    out = io.StringIO()
    result = Result([(f"c{number}", "INTEGER") for number in range(16)], (tuple(range(16)) for _ in range(rows)))
    began = time.monotonic()

    assert sql.show(result, "table", out, 120) == said
    assert out.getvalue().count("\n") == 1002
    assert time.monotonic() - began < 3


def test_all_rows_are_in_the_other_forms():
    result = Result([("n", "INTEGER")], ((number,) for number in range(1500)))

    assert shown(result, "csv").count("\n") == 1501


def test_mistake_in_a_query_is_told_in_bigquerys_words_alone(queries):
    assert refused(queries, "SELECT dtt FROM (SELECT 1 AS dt)") == ["Unrecognized name: dtt"]
    assert refused(queries, "SELEC 1") == ['Syntax error: Unexpected identifier "SELEC" at [1:1]']


def test_missing_table_is_told_with_how_to_list_them(queries):
    told, remedy = refused(queries, "SELECT dt FROM nope")

    assert told.startswith("Not found: Table ")
    assert remedy == "tables: SELECT table_name FROM INFORMATION_SCHEMA.TABLES"


def test_other_statements_are_named(queries):
    reads = "oceanus sql runs one SELECT and changes nothing; this is"

    assert refused(queries, "CREATE TABLE t AS SELECT 1 AS n") == [
        f"{reads} a statement of kind CREATE TABLE AS SELECT"
    ]
    assert refused(queries, "SELECT 1; SELECT 2") == [f"{reads} a script of several statements"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            WarehouseError(
                "BadRequest: Unrecognized name: dtt at [1:8]; reason: invalidQuery, location: query, message: x"
            ),
            "Unrecognized name: dtt at [1:8]",
        ),
        (WarehouseError("BadRequest: Syntax error; message: is kept\n\nJob ID: 1"), "Syntax error; message: is kept"),
        (
            WarehouseUnclearError("ServiceUnavailable: POST http://127.0.0.1:9/x?y=1: try later"),
            "no clear answer from BigQuery: try later",
        ),
        (
            WarehouseUnclearError("RetryError: Timeout of 30.0s exceeded, last exception: HTTPConnectionPool(host='x'"),
            "BigQuery does not answer",
        ),
    ],
)
def test_googles_own_words_around_the_sentence_are_left_out(error, told):
    assert sql.sentence(error) == [told]


def test_terminal_controls_in_a_value_are_shown_and_not_obeyed():
    result = Result([("ua", "STRING")], iter([("\x1b[31mred\nnext",)]))

    assert r"\x1b[31mred\nnext" in shown(result, "table")


@pytest.mark.parametrize(("text", "size"), [("10GB", 10**10), ("500 mb", 5 * 10**8), ("1000", 1000), ("1tb", 10**12)])
def test_sizes_have_units(text, size):
    assert sql.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "0", "1.5GB", "10 apples", "1KGB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is no size"):
        sql.parse_bytes(text)
