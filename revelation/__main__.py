"""`python -m revelation`: reads settings and rules, makes clients, and tells people until it is told to stop."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time

from oceanus import settings, sites
from oceanus.alerts import Alerts
from oceanus.errors import MisconfiguredError, SpoolError
from oceanus.settings import RevelationSettings
from oceanus.spool import Spool, connect, new_id
from oceanus.worker import Stop, refuse_to_start, serve_health, start_log
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
        start_log(chosen.log)
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


class _Revelation:
    """The process: a watcher, the lanes of the places, the doorbell, and a look at alerts.yaml now and then."""

    def __init__(self, chosen: RevelationSettings, declared: sites.Sites, rules: Rules, places: Places) -> None:
        self._chosen, self._declared, self._places = chosen, declared, places
        self._told = [site.name for site in declared.values() if site.alerts]
        self._spool = Spool(connect(chosen.redis))
        self._alerts = Alerts(connect(chosen.redis))
        self._owner = new_id(socket.gethostname(), os.getpid())
        self._lanes = self._make_lanes(rules)
        self._watcher = Watcher(
            rules,
            self._told,
            self._spool,
            self._alerts,
            self._lanes,
            new_writer=lambda: new_id(socket.gethostname(), os.getpid()),
        )
        self._bell = threading.Event()
        self._hangup = False
        self._file = _stamp(chosen.alerts_file)
        self._looked_at = self._looks_from = time.monotonic()

    def run(self) -> int:
        """Watch until the process is told to stop."""
        stop = Stop().listen()
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "_hangup", True))
        watching = threading.Thread(target=self._watch, args=(stop,), name="watcher", daemon=True)
        serve_health(self._chosen.port, self._chosen.internal, lambda: watching.is_alive() and self._lanes.is_alive())
        self._lanes.start()
        if self._told:
            threading.Thread(target=self._listen, name="doorbell", daemon=True).start()
        watching.start()
        while watching.is_alive() and not stop.wait(RELOAD_SECONDS):
            pass
        self._bell.set()
        watching.join(self._chosen.grace_seconds / 3)
        self._lanes.stop(self._chosen.grace_seconds / 2)
        self._watcher.release()
        self._places.close()
        return 0 if stop else 1  # a surprise ended the watcher: let the orchestrator start anew

    def _watch(self, stop: Stop) -> None:
        while not stop:
            self._bell.clear()
            moved = self._watcher.step()
            if time.monotonic() - self._looked_at > RELOAD_SECONDS:
                self._looked_at = time.monotonic()
                self._reload()
                self._look()
            if moved:
                stop.wait(GATHER_SECONDS)
            else:
                self._bell.wait(IDLE_SECONDS)

    def _listen(self) -> None:
        """Wake the watcher at once when a record is accepted; it looks by itself now and then all the same."""
        for heard in self._spool.live(self._told, lambda error: log.warning("the doorbell is silent: %s", error)):
            if heard is not None:
                self._bell.set()

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
        old = self._lanes
        lanes.start()
        self._lanes = self._watcher.tasks = lanes
        self._watcher.rules = rules
        threading.Thread(target=old.stop, args=(self._chosen.grace_seconds,), name="old lanes", daemon=True).start()
        log.warning("%s is read anew: %d rules", self._chosen.alerts_file, len(rules.rules))

    def _look(self) -> None:
        """See to rows and messages that nobody else sees to."""
        if time.monotonic() < self._looks_from:
            return
        self._looks_from = time.monotonic() + LOOK_SECONDS
        try:
            self._lanes.look(self._alerts.unflushed())
        except SpoolError as exc:
            log.warning("Redis is in trouble; rows and messages wait: %s", exc)

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
