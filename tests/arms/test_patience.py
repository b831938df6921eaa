from hypothesis import given
from hypothesis import strategies as st

from arms.patience import Patience

SECONDS = {"rests": 100.0, "reads": 10.0, "answers": 5.0}
moves = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([*SECONDS, "ends"]), st.floats(0, 20, allow_nan=False)), max_size=60
)


def moved(patience: Patience[int], sent: list[tuple[int, str, float]]) -> tuple[dict[int, tuple[str, float]], float]:
    """Do what is told, and return each open connection's turn and its beginning, in their order, and the time."""
    now, kept = 0.0, {}
    for one, turn, seconds in sent:
        now += seconds
        kept.pop(one, None)
        if turn == "ends":
            patience.ends(one)
        else:
            patience.begins(one, turn, now)
            kept[one] = (turn, now)
    return kept, now


@given(moves)
def test_whoever_takes_longer_than_its_turn_is_overdue_and_nobody_else(sent: list[tuple[int, str, float]]) -> None:
    patience: Patience[int] = Patience(SECONDS, 100)
    kept, now = moved(patience, sent)

    late = {one for one, (turn, begun) in kept.items() if now - begun > SECONDS[turn]}

    assert set(patience.overdue(now)) == late
    assert len(patience) == len(kept)


@given(moves, st.integers(1, 5))
def test_beyond_the_most_whoever_has_rested_longest_makes_room(sent: list[tuple[int, str, float]], most: int) -> None:
    patience: Patience[int] = Patience(SECONDS, most)
    kept, _ = moved(patience, sent)
    by_turn = [one for turn in SECONDS for one, (its, _) in kept.items() if its == turn]

    assert patience.surplus() == (by_turn[0] if len(kept) > most else None)
