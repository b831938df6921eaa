"""Migrating: the lists of an original oceanus moved into ours, each record once, wherever this is interrupted.

What is read from an old list's old end is noted beside it, under a producer's name and a number, before it is pushed.
It is taken off, together with the note, when the push is on our Redis' disk. Whoever runs it again after an end in
between pushes the same under the same numbers, which our Redis knows.
"""

import hashlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

from management import original
from management.original import Moved
from oceanus.errors import SpoolRefusedError
from oceanus.pushes import Numbered
from oceanus.sites import Site
from oceanus.spool import Client, Pusher, new_id, text, translated
from oceanus.tables import Naming

ROWS = 500
PUSH_SECONDS = 10.0
# KEYS list note; ARGV producer rows -> producer, number of its next push, and the oldest texts, newest first
_BEGIN = """
local rows = redis.call('HGET', KEYS[2], 'rows')
if not rows then
  if redis.call('HGET', KEYS[2], 'producer') ~= ARGV[1] then
    redis.call('HMSET', KEYS[2], 'producer', ARGV[1], 'seq', 1)
  end
  rows = math.min(tonumber(ARGV[2]), redis.call('LLEN', KEYS[1]))
  if rows > 0 then redis.call('HSET', KEYS[2], 'rows', rows) else redis.call('DEL', KEYS[2]) end
end
local found = {}
if tonumber(rows) > 0 then found = redis.call('LRANGE', KEYS[1], -rows, -1) end
return {redis.call('HGET', KEYS[2], 'producer') or '', tonumber(redis.call('HGET', KEYS[2], 'seq') or 0), found}
"""
# KEYS list note; ARGV pushes rows digest -> 1, or 0 where the list's old end is not what was pushed
_END = """
local there = redis.call('LRANGE', KEYS[1], -tonumber(ARGV[2]), -1)
if redis.sha1hex(table.concat(there, ' ')) ~= ARGV[3] then return 0 end
redis.call('LTRIM', KEYS[1], 0, -tonumber(ARGV[2]) - 1)
redis.call('HINCRBY', KEYS[2], 'seq', ARGV[1])
redis.call('HDEL', KEYS[2], 'rows', 'plan')
return 1
"""


class Lists:
    """The lists of an original oceanus, whose keys are the sites' names."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._producer = new_id(socket.gethostname(), os.getpid())

    def length(self, site: str) -> int:
        """Return how many texts wait; raises SpoolError, also where the key is of no list."""
        with translated():
            return int(self._client.llen(site))

    def begin(self, site: str) -> tuple[str, int, list[bytes]]:
        """Note what is moved next; return under which name and from which number, and the texts, newest first."""
        with translated():
            answer = self._client.eval(_BEGIN, 2, site, _note(site), self._producer, ROWS)
        producer, first, found = cast(list[Any], answer)
        return text(producer), int(first), found

    def agree(self, site: str, plan: str) -> None:
        """Note how what is noted will be pushed; raises SpoolRefusedError where it was begun in another way."""
        with translated():
            self._client.hsetnx(_note(site), "plan", plan)
            noted = text(cast(bytes, self._client.hget(_note(site), "plan") or b""))
        if noted != plan:
            remedy = "put sites.yaml and REDIS_SHARDS back as they were, and end it; then change them"
            raise SpoolRefusedError(f"{site}: a move was begun with another sites.yaml or to another Redis: {remedy}")

    def end(self, site: str, pushes: int, found: list[bytes]) -> None:
        """Take off what was moved; raises SpoolRefusedError where somebody else takes from the list."""
        digest = hashlib.sha1(b" ".join(found), usedforsecurity=False).hexdigest()
        with translated():
            done = self._client.eval(_END, 2, site, _note(site), pushes, len(found), digest)
        if not done:
            raise SpoolRefusedError(f"{site}: somebody else takes from its old list: stop the original's r2bq first")


async def migrate(
    lists: Lists, pusher: Pusher, at: str, site: Site, naming: Naming, step: Callable[[int], None]
) -> Counter[str]:
    """Move all that waits for a site; return how many came to queue, failed, and nothing. Raises SpoolError.

    `at` is the address of the pusher's Redis. `step` is called with the number of texts of each move.
    """
    tally: Counter[str] = Counter()
    while True:
        producer, first, found = lists.begin(site.name)
        if not found:
            return tally
        some = judged(found, site, naming)
        numbered = list(original.pushes(site.name, [one for one in some if one], producer, first))
        lists.agree(site.name, _plan(at, numbered))
        for refusal in await pusher.send(numbered, PUSH_SECONDS) if numbered else ():
            if refusal:
                raise refusal
        lists.end(site.name, len(numbered), found)
        tally.update(one.source if one else "empty" for one in some)
        step(len(found))


def judged(found: list[bytes], site: Site, naming: Naming) -> list[Moved | None]:
    """Return what each text becomes, oldest first."""
    now_us = time.time_ns() // 1000
    return [original.moved(one, site, naming, now_us) for one in reversed(found)]


def _plan(at: str, numbered: Iterable[Numbered]) -> str:
    """Return what a repeat must agree in, lest its numbers mean other records: where to, and how many go together."""
    sizes = [f"{one.push.source} {len(one.push.records)}" for one in numbered]
    return hashlib.sha1(", ".join([at, *sizes]).encode(), usedforsecurity=False).hexdigest()


def _note(site: str) -> str:
    return f"oceanus:migrate:{site}"
