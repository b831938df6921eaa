"""The scales weigh each Redis, and one that is away or does not let them disturbs nothing."""

from prometheus_client import REGISTRY

from oceanus.errors import SpoolDeniedError, SpoolError, SpoolUnclearError
from oceanus.spool import Memory, Spool
from r2bq.scales import Scales


class Weighed:
    """A Redis of so many bytes, or one that fails."""

    def __init__(self, failure: SpoolError | None = None) -> None:
        self.failure = failure
        self.asked = 0

    def memory(self) -> Memory:
        self.asked += 1
        if self.failure:
            raise self.failure
        return Memory(used_bytes=self.asked, most_bytes=100)


def told(redis: str) -> tuple[float | None, float | None]:
    names = ("oceanus_redis_memory_bytes", "oceanus_redis_memory_limit_bytes")
    used, most = (REGISTRY.get_sample_value(name, {"redis": redis}) for name in names)
    return used, most


def test_each_redis_is_weighed_and_none_keeps_another_from_it(caplog):
    good, away, denied = Weighed(), Weighed(SpoolUnclearError("away")), Weighed(SpoolDeniedError("NOPERM"))
    scales = Scales({"a:1": denied, "b:1": away, "": good})

    assert [scales.step(), scales.step()] == [False, False]

    assert (told("default"), told("b:1")) == ((2, 100), (None, None))
    assert (good.asked, away.asked, denied.asked) == (2, 2, 1)
    assert len(caplog.records) == 1


def test_a_redis_says_what_it_holds_and_may_hold(spool: Spool, redis_server):
    with redis_server.client() as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 2**30)
        found = spool.memory()
        client.config_set("maxmemory", before)

    assert found.most_bytes == 2**30
    assert 0 < found.used_bytes < found.most_bytes
