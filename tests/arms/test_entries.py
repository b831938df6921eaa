"""The journal's entries survive whatever a disk does to what stands behind and between them."""

from hypothesis import given
from hypothesis import strategies as st

from arms.entries import Damage, decode, encode
from oceanus.pushes import Numbered, Push

TEXTS = st.binary(min_size=1, max_size=40).map(lambda raw: raw.translate(bytes.maketrans(b"\n\0", b"  ")))
PUSHES = st.builds(
    Push,
    site=st.sampled_from(["shop", "mail"]),
    source=st.sampled_from(["queue", "failed"]),
    minute=st.just("202611221000"),
    digest=st.integers(0, 2**40),
    last_ms=st.integers(0, 2**42),
    records=st.lists(TEXTS, min_size=1, max_size=4),
    alerts=st.booleans(),
)
ENTRIES = st.lists(st.builds(Numbered, PUSHES, st.just("host-1-abc"), st.integers(1, 99)), max_size=6)


@given(ENTRIES, st.integers(0, 100))
def test_what_is_written_is_read_back_before_free_room(written: list[Numbered], room: int) -> None:
    assert list(decode(b"".join(map(encode, written)) + b"\0" * room)) == written


@given(ENTRIES, st.data())
def test_a_journal_cut_at_any_byte_gives_every_entry_before_the_cut(
    written: list[Numbered], data: st.DataObject
) -> None:
    raws = [encode(one) for one in written]
    raw = b"".join(raws)
    cut = data.draw(st.integers(0, len(raw)))

    found = list(decode(raw[:cut] + b"\0" * 50))

    whole = sum(1 for place in range(len(raws)) if sum(map(len, raws[: place + 1])) <= cut)
    assert [one for one in found if isinstance(one, Numbered)] == written[:whole]
    assert all(one.is_end for one in found if isinstance(one, Damage))


@given(st.lists(st.builds(Numbered, PUSHES, st.just("p"), st.integers(1, 9)), min_size=2, max_size=5), st.data())
def test_one_changed_byte_costs_one_entry_and_is_told(written: list[Numbered], data: st.DataObject) -> None:
    raws = [encode(one) for one in written]
    hurt = data.draw(st.integers(0, len(raws) - 1))
    place = data.draw(st.integers(0, len(raws[hurt]) - 1))
    raws[hurt] = raws[hurt][:place] + bytes([raws[hurt][place] ^ 0x55]) + raws[hurt][place + 1 :]

    found = list(decode(b"".join(raws)))

    assert [one for one in found if isinstance(one, Numbered)] == written[:hurt] + written[hurt + 1 :]
    assert [one.is_end for one in found if isinstance(one, Damage)] == [hurt == len(raws) - 1]


@given(st.binary(max_size=300))
def test_rubbish_is_damage_and_never_an_error(raw: bytes) -> None:
    assert b"".join(one.raw for one in decode(raw) if isinstance(one, Damage)) == raw.rstrip(b"\0")
