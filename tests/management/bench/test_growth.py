"""The bench of growth: turns with less and with more of something, and their ratio pair by pair."""

import shutil

from management.bench import growth
from management.bench.collector import Measured
from management.bench.growth import Growth
from management.bench.rig import rig
from oceanus import sites
from tests.conftest import absent


def test_a_full_queue_is_measured_beside_an_empty_one_and_a_workers_memory_on_the_way(redis_server):
    if shutil.which("wrk") is None:
        absent("wrk is not here: apt-get install wrk")
    told: list[tuple[str, int, int]] = []
    bench = growth.Bench(1, 1, lambda *more: told.append(more))

    with rig() as less, rig() as more:
        found = bench.waiting(less, more, 1000)
    with rig() as made:
        looks = bench.memory(made, 1)

    assert (len(found.less), len(found.more)) == (1, 1)
    assert found.ratio_cpu > 0
    assert ("filling Redis", 1000, 1000) in told
    assert [look.beacons > 0 for look in looks] == [False, True]
    assert all(look.mib > 10 for look in looks)


def test_a_ratio_is_the_median_of_the_pairs():
    def turns(*cpu: float) -> list[Measured]:
        return [Measured(1000.0, 1.0, 2.0, one, 80.0) for one in cpu]

    found = Growth("more", less=turns(50, 60, 50), more=turns(55, 60, 100))

    assert found.ratio_cpu == 1.1
    assert [one["cpu_us"] for one in found.report()["more"]] == [55, 60, 100]


def test_five_hundred_sites_are_the_samples_and_others():
    more = growth.SITES - 1

    declared = sites.parse(growth.sites_text(more))

    assert len(declared) == len(sites.load(str(sites.SAMPLE))) + more
    assert declared["other7"].method == "swallow"
