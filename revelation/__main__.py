"""`python -m revelation`: reads settings and rules, makes clients, and tells people until it is told to stop."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from oceanus import settings, sites
from oceanus.alerts import Alerts
from oceanus.errors import MisconfiguredError, SpoolError
from oceanus.settings import RedisSettings, RevelationSettings
from oceanus.shards import shards
from oceanus.spool import Spool, connect, new_id
from oceanus.worker import Stop, begin, refuse_to_start, serve_health
from revelation import rules as alert_rules
from revelation import trial
from revelation.places import Places
from revelation.rules import Rules
from revelation.tasks import LOOK_SECONDS, Lanes
from revelation.watcher import Watcher

log = logging.getLogger("revelation")

GATHER_SECONDS = 0.03  # records of so long are looked at together
IDLE_SECONDS = 1.0
RELOAD_SECONDS = 1.0


def main() -> int:
    """Run as the command line says; return the exit code."""
    asked = _arguments()
    try:
        chosen = settings.read(RevelationSettings)
        begin("revelation", chosen.log)
        declared = sites.load(chosen.sites.file)
        rules = alert_rules.load(chosen.alerts_file, declared)
        places = Places(chosen, settings.environment(), declared)
        if asked.test:
            return trial.run(asked.test, asked.record, asked.send, rules, places)
        return _Revelation(chosen, declared, rules, places).run()
    except MisconfiguredError as exc:
        refuse_to_start("revelation", exc)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m revelation", description="Tell people by the rules of alerts.yaml."
    )
    parser.add_argument("--test", metavar="RULE", help="show what a rule would tell of --record, and end")
    parser.add_argument("--record", metavar="FILE", help="a record as JSON; - for standard input")
    parser.add_argument("--send", action="store_true", help="with --test: tell it, too")
    asked = parser.parse_args()
    if asked.test and not asked.record:
        parser.error("--test needs --record")
    return asked


@dataclass(frozen=True, slots=True)
class _Watch:
    """A watcher in a thread of its own, and the bell that wakes it."""

    watcher: Watcher
    bell: threading.Event = field(default_factory=threading.Event)


class _Revelation:
    """The process: watchers, the lanes of the places, the doorbells, and a look at alerts.yaml now and then.

    What is decided and told is kept in the default Redis. With several, each has a watcher and a doorbell of its own,
    so that one which is away delays no site of the others.
    """

    def __init__(self, chosen: RevelationSettings, declared: sites.Sites, rules: Rules, places: Places) -> None:
        self._chosen, self._declared, self._places = chosen, declared, places
        self._told = [site.name for site in declared.values() if site.alerts]
        self._redis = shards(chosen.redis, declared).redis
        self._alerts = Alerts(connect(chosen.redis))
        self._owner = new_id(socket.gethostname(), os.getpid())
        self._now = rules, self._make_lanes(rules)  # what every watcher takes up before its next step
        self._watches = self._make_watches()
        self._hangup = False
        self._file = _stamp(chosen.alerts_file)
        self._looked_at = self._looks_from = time.monotonic()

    def run(self) -> int:
        """Watch until the process is told to stop."""
        stop = Stop().listen()
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "_hangup", True))
        threads = [
            threading.Thread(target=self._watch, args=(stop, place), name="watcher", daemon=True)
            for place in range(len(self._watches))
        ]

        def alive() -> bool:
            return all(thread.is_alive() for thread in threads)

        serve_health(self._chosen.port, self._chosen.internal, lambda: alive() and self._now[1].is_alive())
        self._now[1].start()
        for one, redis in zip(self._watches, self._redis.values(), strict=False) if self._told else []:
            threading.Thread(target=self._listen, args=(one.bell, redis), name="doorbell", daemon=True).start()
        for thread in threads:
            thread.start()
        while alive() and not stop.wait(RELOAD_SECONDS):
            pass
        ends = time.monotonic() + self._chosen.grace_seconds / 3
        for one in self._watches:
            one.bell.set()
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
        self._now[1].stop(self._chosen.grace_seconds / 2)
        for one in self._watches:
            one.watcher.release()
        self._places.close()
        return 0 if stop else 1  # a surprise ended a watcher: let the orchestrator start anew

    def _watch(self, stop: Stop, place: int) -> None:
        """Step a watcher again and again; the last one, which sums up, looks at alerts.yaml and the lanes, too."""
        watcher, bell = self._watches[place].watcher, self._watches[place].bell
        while not stop:
            bell.clear()
            watcher.rules, watcher.tasks = self._now
            moved = watcher.step()
            if place == len(self._watches) - 1 and time.monotonic() - self._looked_at > RELOAD_SECONDS:
                self._looked_at = time.monotonic()
                self._reload()
                self._look()
            if moved:
                stop.wait(GATHER_SECONDS)
            else:
                bell.wait(IDLE_SECONDS)

    def _listen(self, bell: threading.Event, redis: RedisSettings) -> None:
        """Wake a watcher at once when a record is accepted; it looks by itself now and then all the same."""
        spool = Spool(connect(redis))
        for heard in spool.live(self._told, lambda error: log.warning("the doorbell is silent: %s", error)):
            if heard is not None:
                bell.set()

    def _reload(self) -> None:
        """Take up a changed alerts.yaml; a bad one is told, and the rules stay as they are."""
        stamp = _stamp(self._chosen.alerts_file)
        if stamp == self._file and not self._hangup:
            return
        self._file, self._hangup = stamp, False
        try:
            rules = alert_rules.load(self._chosen.alerts_file, self._declared)
            lanes = self._make_lanes(rules)
        except MisconfiguredError as exc:
            for mistake in exc.mistakes:
                log.error("the rules stay as they were: %s", mistake)
            return
        old = self._now[1]
        lanes.start()
        self._now = rules, lanes
        threading.Thread(target=old.stop, args=(self._chosen.grace_seconds,), name="old lanes", daemon=True).start()
        log.warning("%s is read anew: %d rules", self._chosen.alerts_file, len(rules.rules))

    def _look(self) -> None:
        """See to rows and messages that nobody else sees to."""
        if time.monotonic() < self._looks_from:
            return
        self._looks_from = time.monotonic() + LOOK_SECONDS
        try:
            self._now[1].look(self._alerts.unflushed())
        except SpoolError as exc:
            log.warning("Redis is in trouble; rows and messages wait: %s", exc)

    def _make_watches(self) -> list[_Watch]:
        """Return a watcher for each Redis and, where there are several, one more that sums up."""

        def watch(redis: RedisSettings, **given: Any) -> _Watch:
            rules, lanes = self._now
            spool = Spool(connect(redis))
            return _Watch(Watcher(rules, self._told, spool, self._alerts, lanes, new_writer=self._name, **given))

        every = list(self._redis.values())
        if len(every) == 1:
            return [watch(every[0])]
        books = [Alerts(connect(redis)) for redis in every]
        return [*(watch(redis, sums_up=False) for redis in every), watch(every[0], watches=False, books=books)]

    def _name(self) -> str:
        return new_id(socket.gethostname(), os.getpid())

    def _make_lanes(self, rules: Rules) -> Lanes:
        deliveries = self._places.deliveries(rules, self._alerts, self._owner)
        gone = self._places.gone(self._alerts, self._owner)
        return Lanes(connect(self._chosen.redis), deliveries, gone, self._chosen.history_seconds)


def _stamp(file: str) -> tuple[int, int, int]:
    """Return what changes when a file is written or replaced; zeros while it is away."""
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_ino, found.st_size


if __name__ == "__main__":
    sys.exit(main())
