"""The stream: bounded by records and bytes, and no viewer sees a record twice or out of order."""

from hypothesis import given
from hypothesis import strategies as st

from management.console.stream import Heard, Stream, wanted


def everything(one: Heard) -> bool:
    return True


@given(st.lists(st.lists(st.binary(max_size=40), max_size=12), max_size=12), st.integers(1, 8), st.integers(1, 120))
def test_a_viewer_sees_each_kept_record_once_the_newest_first(ticks, most_records, most_bytes):
    stream, number, seen, told, heard = Stream(most_records, most_bytes), 0, [], 0, 0
    for tick in ticks:
        for raw in tick:
            stream.hear("shop", raw)
        heard += len(tick)
        page = stream.since(number, everything, 3)
        numbers = [one.number for one in page.records]
        assert numbers == sorted(numbers, reverse=True)
        assert all(before < after for before in seen for after in numbers)
        assert len(page.records) <= min(3, most_records)
        assert page.number == heard
        seen, told, number = seen + numbers, told + len(page.records) + page.more, page.number

    assert len(set(seen)) == len(seen)
    assert told <= heard
    kept = stream.since(0, everything, 1000).records
    assert len(kept) <= most_records
    assert sum(len(one.raw) for one in kept) <= most_bytes


def test_what_is_more_than_a_tick_shows_is_counted():
    stream = Stream()
    for number in range(100):
        stream.hear("shop", b"%d" % number)

    page = stream.since(0, everything, 40)

    assert ([one.raw for one in page.records[:2]], len(page.records), page.more) == ([b"99", b"98"], 40, 60)
    assert stream.since(page.number, everything, 40).records == []


def test_words_are_looked_for_in_any_case_and_order_and_as_json_writes_them():
    one = Heard(1, "shop", '{"tit":"Die STRASSE \\"x\\" カシミヤ","url":"https://a.example/?q=1"}'.encode())

    looked = {
        words: wanted("", words)(one)
        for words in ("", "straße", "カシミヤ die", '"x"', "A.EXAMPLE/?Q=1", "die nothing")
    }

    assert looked == {
        "": True, "straße": True, "カシミヤ die": True, '"x"': True, "A.EXAMPLE/?Q=1": True, "die nothing": False,
    }  # fmt: skip
    assert (wanted("shop", "die")(one), wanted("other", "")(one)) == (True, False)


def test_a_record_is_found_by_its_event_while_it_is_kept():
    stream = Stream(most_records=1)
    stream.hear("shop", b'{"eid":"a"}')
    found = stream.find("a")
    stream.hear("shop", b'{"eid":"b"}')

    assert found == Heard(1, "shop", b'{"eid":"a"}')
    assert stream.find("a") is None
