"""The fault matrix in short: a few faults of shortened length, and everything that they rest on."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import sites
from tests.chaos import beacons, chaos, faults, verdict
from tests.chaos.children import Children
from tests.chaos.load import Fate, Log
from tests.chaos.stage import may_mount
from tests.chaos.wire import Wire
from tests.conftest import RedisProcess

SHORT_SEED, SHORT_PACE = 4, 0.4
SHORT = {
    "SIGKILL Redis",
    "SIGKILL arms while Redis is away",
    "SIGKILL r2bq amid gRPC trouble",
    "SIGSTOP r2bq",
    "Redis full",
    "answers lost: arms and Redis",
    "empty table dropped",
    "filled table dropped",
    "gRPC cut after",
    "gRPC rows refused",
    "gRPC stream forgotten, REST in trouble",
    "journal's disk full",
    "r2bq two minutes off",
    "silent: r2bq and Redis",
}


@pytest.mark.timeout(300)
def test_every_accepted_beacon_is_one_row_whatever_is_killed(tmp_path: Path, redis_server: RedisProcess) -> None:
    missing = faults.lacking(faults.KINDS, may_mount(tmp_path))
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have every part: {missing}")
    kinds = [kind for kind in faults.KINDS if kind.name in SHORT and kind.needs not in missing]
    plan = faults.plan(kinds, len(kinds), SHORT_SEED)
    short = {"rate": 150.0, "pace": SHORT_PACE, "steady_seconds": 1.5}

    outcome = asyncio.run(chaos.run(plan, SHORT_SEED, tmp_path, print, tmpfs="tmpfs" not in missing, **short))

    print("\n".join(outcome.lines()))
    assert outcome.verdict.is_good
    assert outcome.verdict.accepted > 1000
    shutil.rmtree(tmp_path / "bigquery", ignore_errors=True)


# --- the plan


def test_a_plan_has_each_kind_at_least_once_and_is_its_seeds() -> None:
    plan = faults.plan(faults.KINDS, 200, 7)

    assert len(plan) == 200
    assert {fault.kind for fault in plan} == set(faults.KINDS)
    assert plan == faults.plan(faults.KINDS, 200, 7)
    assert plan != faults.plan(faults.KINDS, 200, 8)


def test_every_kind_has_a_name_of_its_own_and_the_short_form_knows_them() -> None:
    names = [kind.name for kind in faults.KINDS]

    assert len(set(names)) == len(names)
    assert set(names) >= SHORT


def test_a_kind_whose_part_is_missing_is_named() -> None:
    needed = faults.lacking(faults.KINDS, may_mount=False)

    assert needed["tmpfs"] == "mounting a tmpfs needs root"


# --- the verdict


def test_a_missing_a_doubled_and_a_refused_id_are_told_apart() -> None:
    found = verdict.compare({1, 2, 3}, {8, 9}, [1, 1, 2, 7, 7, 9], "agrees")

    assert found == verdict.Verdict(
        accepted=3, landed=2, missing=(3,), doubled=(1, 7), stored_though_refused=(9,), audit="agrees"
    )
    assert not found.is_good


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(100, 199)))
def test_one_row_for_each_accepted_id_and_perhaps_one_for_others_is_good(accepted: set[int], other: set[int]) -> None:
    assert verdict.compare(accepted, set(), [*accepted, *other], "agrees").is_good


def test_the_audit_must_count_what_stands() -> None:
    counts = dict.fromkeys(("missing", "doubled", "waiting", "foreign"), 0) | {"accepted": 7, "repeated": 2}
    told = {"total": counts, "sites": {}}

    assert verdict.read_audit(0, told, 5) == "agrees"
    assert verdict.read_audit(0, told, 6) == "differs(it counts 7 accepted, 2 of them repeated, and 6 rows stand)"
    assert verdict.read_audit(1, told, 5) == "differs(exit code 1)"


def test_the_last_line_says_it_all() -> None:
    good = verdict.compare({1, 2}, set(), [1, 2], "agrees")

    assert verdict.last_line(3, good, 4.06, 9) == (
        "faults=3 accepted=2 landed=2 missing=0 doubled=0 audit=agrees recovered_in=4.1 seed=9"
    )


# --- the load


def test_an_id_is_unanswered_until_it_is_answered() -> None:
    log = Log()
    log.send(range(3))
    log.answer(1, Fate.ACCEPTED)
    log.answer(2, Fate.REFUSED)

    assert (log.of(Fate.UNANSWERED), log.of(Fate.ACCEPTED), log.of(Fate.REFUSED)) == ({0}, {1}, {2})
    assert log.next_id == 3


def test_the_sites_are_sites_and_each_id_is_sent_once() -> None:
    declared = sites.parse(beacons.sites_yaml(quiet=2))
    sendings, first = [], 0
    for turn in range(len(beacons.TURN)):
        sendings.append(beacons.sending(turn, first))
        first += len(sendings[-1].ids)

    assert list(declared) == ["shop", "news", "daily", "named", "form", "link", "quiet0", "quiet1"]
    assert first == beacons.TURN_BEACONS
    assert all(str(one).encode() in sending.request for sending in sendings for one in sending.ids)


# --- the children


def test_what_dies_is_started_again_unless_it_is_held_and_the_end_ends_it(tmp_path: Path) -> None:
    async def scene() -> None:
        children = Children(tmp_path)
        child = children.start("sleeper", ["sleep", "1000"], {"PATH": os.environ["PATH"]})
        children.keep()
        child.signal(signal.SIGKILL)
        await _until(lambda: child.starts == 2 and child.lives)

        child.held = True
        child.signal(signal.SIGKILL)
        await asyncio.sleep(1)
        assert (child.starts, child.lives) == (2, False)

        child.held = False
        await _until(lambda: child.starts == 3 and child.lives)
        await children.end()
        assert not child.lives

    asyncio.run(scene())


# --- the wire


def test_a_silent_wire_delivers_late_also_what_a_dead_client_sent() -> None:
    async def scene(wire: Wire, heard: list[bytes]) -> None:
        wire.set("silent")
        _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"late")
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.1)
        assert heard == []

        wire.set("whole")
        await _until(lambda: heard == [b"late"])

    _on_a_wire(scene)


def test_a_deaf_wire_passes_the_request_and_loses_the_answer() -> None:
    async def scene(wire: Wire, heard: list[bytes]) -> None:
        wire.set("deaf")
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"asked")
        await _until(lambda: heard == [b"asked"])

        wire.set("whole")
        assert await _is_broken(reader)

    _on_a_wire(scene)


def test_a_cut_wire_breaks_what_is_open_and_takes_nothing_new() -> None:
    async def scene(wire: Wire, heard: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"one")
        assert await reader.read(10) == b"ONE"
        wire.set("cut")
        assert await _is_broken(reader)
        again, _ = await asyncio.open_connection("127.0.0.1", wire.port)
        assert await _is_broken(again)
        assert heard == [b"one"]

    _on_a_wire(scene)


def _on_a_wire(scene: Callable[[Wire, list[bytes]], Awaitable[None]]) -> None:
    """Play a scene on a wire to a server that notes what it hears and shouts it back."""

    async def play() -> None:
        heard: list[bytes] = []

        async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while chunk := await reader.read(100):
                heard.append(chunk)
                writer.write(chunk.upper())
            writer.close()

        server = await asyncio.start_server(shout, "127.0.0.1", 0)
        wire = await Wire(server.sockets[0].getsockname()[1]).start()
        await scene(wire, heard)
        await wire.stop()
        server.close()

    asyncio.run(play())


async def _is_broken(reader: asyncio.StreamReader) -> bool:
    """Say whether a connection ends, by a reset or in order, without another byte."""
    try:
        return await asyncio.wait_for(reader.read(10), 10) == b""
    except ConnectionError:
        return True


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for is a list
            await asyncio.sleep(0.01)
