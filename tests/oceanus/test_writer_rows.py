"""What an append sends: every row, whatever its values, as its columns' types say, and nothing else."""

import math

import pytest
from google.cloud.bigquery_storage_v1 import types
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from oceanus.tables import Column, Row, Table
from oceanus.warehouse import Clients, Writer

WRITER = Writer(Clients(project="p", location="US", rest=None, write=None))
VALUES = {
    "STRING": st.text(),
    "JSON": st.just('{"a":1}') | st.text(),
    "TIMESTAMP": st.integers(-(2**63), 2**63 - 1),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "FLOAT64": st.floats() | st.integers(-(2**63), 2**64 - 1),
    "BOOL": st.booleans(),
}
TABLE = Table(path="d.t", description="", columns=tuple(Column(kind.lower(), kind) for kind in VALUES))
ROWS = st.lists(st.fixed_dictionaries({}, optional={k.lower(): st.none() | v for k, v in VALUES.items()}), max_size=5)


def message_class(schema):
    """Return the message that a request describes as that of its rows."""
    descriptor = types.ProtoSchema.pb(schema).proto_descriptor
    file = descriptor_pb2.FileDescriptorProto(name="sent.proto")
    file.message_type.add().CopyFrom(descriptor)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.name))


def read(message) -> Row:
    """Return a row as its message tells it."""
    return {field.name: value for field, value in message.ListFields()}


@given(ROWS)
def test_each_row_is_sent_as_it_would_be_alone(rows):
    sent = WRITER.request(TABLE, "S", 7, rows).proto_rows

    made = message_class(sent.writer_schema)
    assert sent.rows.serialized_rows == [made(**row).SerializeToString() for row in rows]


@given(ROWS)
def test_each_value_is_read_again_as_it_was(rows):
    sent = WRITER.request(TABLE, "S", 7, rows).proto_rows

    made = message_class(sent.writer_schema)
    for row, text in zip(rows, sent.rows.serialized_rows, strict=True):
        expected = {name: value for name, value in row.items() if value is not None}
        found = read(made.FromString(text))
        assert found.keys() == expected.keys()
        assert all(
            one == pytest.approx(expected[name], nan_ok=True) for name, one in found.items() if name == "float64"
        )
        assert all(one == expected[name] for name, one in found.items() if name != "float64")


def test_an_append_names_its_stream_and_its_offset():
    sent = WRITER.request(TABLE, "S", 7, [{"string": "x"}])

    assert (sent.write_stream, sent.offset) == ("S", 7)
    assert [one.name for one in types.ProtoSchema.pb(sent.proto_rows.writer_schema).proto_descriptor.field] == [
        column.name for column in TABLE.columns
    ]


def test_no_value_of_a_wrong_type_is_sent():
    for kind, value in (("string", 1), ("int64", "1"), ("int64", 2**63), ("bool", "x"), ("float64", "1")):
        with pytest.raises((TypeError, ValueError)):
            WRITER.request(TABLE, "S", 0, [{kind: value}])


def test_not_a_number_is_a_number_to_an_append():
    sent = WRITER.request(TABLE, "S", 0, [{"float64": math.nan}]).proto_rows

    assert math.isnan(read(message_class(sent.writer_schema).FromString(sent.rows.serialized_rows[0]))["float64"])
