"""The watcher: sees every record of the sites that have rules, and turns what matches into tellings.

A batch is claimed from a site's list of alerts, decided, handed to the task queue, and only then let go. Whatever ends
the process before that, another watcher finds the claim, and comes to the same tellings under the same names.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import batched, product
from typing import Protocol

from oceanus import records
from oceanus.alerts import MINUTE_MS, Alerts, Match
from oceanus.errors import (
    ClaimChangedError,
    NewerFormatError,
    NotARecordError,
    NotATellingError,
    SpoolError,
    SpoolRefusedError,
    WriterGoneError,
)
from oceanus.records import Record
from oceanus.spool import Claim, Holder, Spool
from revelation import deciding, metrics
from revelation.rules import Rule, Rules
from revelation.seen import Seen
from revelation.telling import Telling

log = logging.getLogger(__name__)

SOURCE = "alerts"
LET_GO, BACK = "l", "b"  # letters of the script SORT
ROWS, MAX_BYTES = 500, 1_000_000
BEAT_SECONDS = 1.0
DIGEST_SECONDS = 1.0  # between two looks for what is to be summed up, and for silence
DROPPED_SECONDS = 60.0
WARN_SECONDS = 10.0  # between two warnings of one site, or of Redis as a whole
LATE_SECONDS = 60.0  # after a start, or trouble with Redis: arms' journal brings what came meanwhile; nothing is silent


class Tasks(Protocol):
    """The task queue, as the watcher sees it."""

    def put(self, tellings: Iterable[Telling]) -> None:
        """Make sure that each is delivered, or set aside; raises SpoolError."""


class Watcher:
    """Claims, decides, hands on. `rules` may be exchanged between two steps.

    With several Redis there is a watcher for each, with `sums_up` false, and one with `watches` false, which sums up
    what all of them have seen: digests, silence, drops. `alerts` is the book of what is decided, for all; `books` are
    those of every Redis, where the lists lie.
    """

    def __init__(
        self,
        rules: Rules,
        sites: Iterable[str],
        spool: Spool,
        alerts: Alerts,
        tasks: Tasks,
        new_writer: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        held_ms: int = MINUTE_MS,
        late_seconds: float = LATE_SECONDS,
        *,
        watches: bool = True,
        sums_up: bool = True,
        books: Sequence[Alerts] = (),
    ) -> None:
        self.rules = rules
        self.tasks = tasks
        self._sites = tuple(sites)
        self._spool = spool
        self._alerts = alerts
        self._books = tuple(books) or (alerts,)
        self._watches, self._sums_up = watches, sums_up
        self._new_writer = new_writer
        self._clock = clock
        self._now_us = now_us
        self._held_ms = held_ms
        self._late_seconds = late_seconds
        self._holders: dict[str, Holder] = {}
        self._kept: set[str] = set()  # sites whose claim was, or may be, not let go
        self._warns_at: dict[str, float] = {}
        self._beats_at = self._digests_at = self._dropped_at = 0.0
        self._silence_at = clock() + late_seconds  # Redis, too, may be new

    def step(self) -> bool:
        """Look once at every site; return whether there was a record. Trouble with Redis is told, and tried again."""
        try:
            if self._watches and self._clock() >= self._beats_at:
                self._beats_at = self._clock() + BEAT_SECONDS
                self._beat()
            moved = [site for site in self._sites if self._watches and self._watch(site)]
            if self._sums_up and self._clock() >= self._digests_at:
                self._digests_at = self._clock() + DIGEST_SECONDS
                self._sum_up()
        except SpoolError as exc:
            self._warn("Redis", "in trouble", exc)
            self._silence_at = self._clock() + self._late_seconds
            return False
        return bool(moved)

    def release(self) -> None:
        """Take leave: nothing is held between two steps."""
        for holder in self._holders.values():
            try:
                self._spool.forget(holder)
            except SpoolError as exc:
                log.warning("Redis is in trouble; another watcher takes over: %s", exc)

    def _beat(self) -> None:
        """Give signs of life, and take over what the dead have left."""
        for site in self._sites:
            if site not in self._holders:
                with self._apart(site):
                    self._register(site)
        holders = list(self._holders.values())
        for holder, holds in zip(holders, self._spool.beats(holders), strict=True):
            if holds is None:
                with self._apart(holder.site):
                    self._register(holder.site)
        own = {holder.writer for holder in holders}
        for site, dead in zip(self._sites, self._spool.lapsed([(site, SOURCE) for site in self._sites]), strict=True):
            for writer in dead:
                if writer not in own:
                    with self._apart(site):
                        self._adopt(site, writer)

    def _register(self, site: str) -> None:
        writer = self._new_writer()
        holder = self._holders[site] = Holder(site, SOURCE, writer, writer)
        self._spool.register(holder)

    def _adopt(self, site: str, writer: str) -> None:
        """Put the records of a dead watcher back, to be decided as they would have been."""
        holder = Holder(site, SOURCE, writer, self._holders[site].writer)
        claim = self._spool.adopt(holder)
        if claim and claim.rows:
            self._spool.sort(holder, claim.token, BACK * len(claim.rows))
            log.warning("%s: %d records of a watcher that is no more are looked at again", site, len(claim.rows))
        if claim is not None:
            self._spool.forget(holder)

    @contextmanager
    def _apart(self, site: str) -> Iterator[None]:
        """Let what Redis refuses of one site, such as a key of a foreign type, not stop the others."""
        try:
            yield
        except SpoolRefusedError as exc:
            self._warn(site, "refused", exc)

    def _warn(self, about: str, why: str, error: SpoolError | str) -> None:
        if self._clock() >= self._warns_at.get(about, 0.0):
            self._warns_at[about] = self._clock() + WARN_SECONDS
            log.warning("%s: %s; records wait in their lists: %s", about, why, error)

    def _watch(self, site: str) -> bool:
        moved = False
        with self._apart(site):
            try:
                moved = self._look(self._holders[site])
            except (WriterGoneError, ClaimChangedError) as exc:
                log.warning("%s: %s; its records are looked at by another watcher", site, exc)
                self._kept.discard(site)
                self._register(site)
                moved = True
        return moved

    def _look(self, holder: Holder) -> bool:
        """Decide about some records of a site and let them go; return whether there was one."""
        claim = self._claim(holder)
        if not claim.rows:
            self._kept.discard(holder.site)
            return False
        read = [_read(raw) for raw in claim.rows]
        flags = "".join(flag for flag, _ in read)
        decided = self._tell(holder.site, [record for _, record in reversed(read) if record is not None])
        self._spool.sort(holder, claim.token, flags)
        self._alerts.let_go(decided)
        self._kept.discard(holder.site)
        if BACK in flags:
            self._warn(holder.site, "some are of a newer release", "this one cannot read them")
        return LET_GO in flags

    def _claim(self, holder: Holder) -> Claim:
        """Return what the claim holds if it was not let go, as while tasks are refused, lest it grow; else fill it."""
        if holder.site in self._kept:
            claim = self._spool.claim(holder, 0, 0)
            if claim.rows:
                return claim
        self._kept.add(holder.site)
        return self._spool.claim(holder, ROWS, MAX_BYTES)

    def _tell(self, site: str, found: Sequence[Record]) -> list[Match]:
        """Decide what a claim's records come to, oldest first, and hand it on; return what was decided about."""
        metrics.SEEN.labels(site).inc(len(found))
        rules = self.rules
        matched = list(matches(site, found, rules))
        self._alerts.saw(deciding.last_seen((rule, one) for rule, _, one in matched if rule.silence_seconds))
        told = [entry for entry in matched if not entry[0].silence_seconds]
        for some in batched(told, ROWS, strict=False):  # or one script would hold Redis up where many rules match
            self._decide(site, rules, some)
        return [one for _, _, one in told]

    def _decide(self, site: str, rules: Rules, some: Sequence[tuple[Rule, Record, Match]]) -> None:
        answers = self._alerts.decide([one for _, _, one in some])
        for (rule, record, _), count in zip(some, answers, strict=True):
            if count is not None:
                metrics.MATCHES.labels(rule.name).inc()
                self.tasks.put(deciding.tellings(rule, rules, site, record, count, self._now_us()))

    # --- what no single record says

    def _sum_up(self) -> None:
        self._again()
        self._digest()
        self._hear_silence()
        if self._clock() >= self._dropped_at:
            self._dropped_at = self._clock() + DROPPED_SECONDS
            self._tell_dropped()

    def _again(self) -> None:
        """Hand on dead letters that a person wants to be tried once more."""
        for raw, told in self._alerts.again():
            try:
                self.tasks.put([deciding.again(Telling.read(told), self.rules, self._now_us())])
            except NotATellingError as exc:
                self._alerts.fail(told, str(exc), self._now_us())
            self._alerts.forget_again(raw)

    def _digest(self) -> None:
        for held in self._alerts.close_held(self._held_ms):
            rule = self.rules.rules.get(held.rule)
            if rule:
                metrics.HELD.labels(rule.name).inc(held.count)
                self.tasks.put(deciding.held_back(held, rule, self.rules, self._now_us()))
            else:
                log.warning("%s: %d held back, and alerts.yaml has it no more", held.rule, held.count)
            self._alerts.forget_held(held)

    def _hear_silence(self) -> None:
        """Tell of rules of silence whose sites were listened to for so long after the last match, and had none."""
        now_us = self._now_us()
        heard_ms = self._heard_ms(now_us // 1000)  # before `seen`: what is let go meanwhile was noted there
        silences = {deciding.ear(rule): rule for rule in self.rules.rules.values() if rule.silence_seconds}
        seen_ms = self._alerts.seen(silences, now_us // 1000)
        if self._clock() < self._silence_at:
            return
        for ear, last_ms in seen_ms.items():
            rule = silences[ear]
            until_ms = min(heard_ms[site] for site in rule.sites)
            is_long = until_ms - last_ms >= rule.silence_seconds * 1000
            if is_long and self._alerts.told_silence(ear) != last_ms:
                self.tasks.put(deciding.silent(rule, self.rules, last_ms, now_us))
                self._alerts.told_silence(ear, last_ms)

    def _heard_ms(self, now_ms: int) -> dict[str, int]:
        """Return up to which receive time each site's records were looked at: all before the oldest that waits."""
        heard = dict.fromkeys(self._sites, 0)
        for site in self._sites:
            with self._apart(site):
                found = [book.waiting(site) for book in self._books]
                metrics.WAITING.labels(site).set(sum(length for length, _ in found))
                heard[site] = min((_received_ms(raw) for _, oldest in found for raw in oldest), default=now_ms)
        return heard

    def _tell_dropped(self) -> None:
        for site, book in product(self._sites, self._books):
            with self._apart(site):
                between = book.dropped(site)
                if between:
                    before, now = between
                    self.tasks.put(deciding.dropped(site, self.rules, before, now, self._now_us()))
                    self._note_dropped(book, site, before, now)

    def _note_dropped(self, book: Alerts, site: str, before: int, now: int) -> None:
        if book.forget_dropped(site, before, now):
            log.error("%s: %d records were dropped unseen: the list of alerts was full", site, now - before)
            metrics.DROPPED.labels(site).inc(now - before)


def matches(site: str, found: Iterable[Record], rules: Rules) -> Iterator[tuple[Rule, Record, Match]]:
    """Yield each rule that is true of a record."""
    of_site = rules.by_site.get(site, ())
    for record in found:
        seen = Seen(record, site)
        for rule in of_site:
            if rule.matches(seen):
                yield rule, record, deciding.match(rule, seen, rules.a_minute)


def _read(raw: bytes) -> tuple[str, Record | None]:
    """Return what becomes of a text in the list, and the record in it that is to be looked at."""
    try:
        return LET_GO, records.decode(raw)
    except NewerFormatError:
        return BACK, None
    except NotARecordError:
        log.warning("a text that is no record is passed over; r2bq makes it a failed record")
        return LET_GO, None


def _received_ms(raw: bytes) -> int:
    """Return when a record was received; 0, long ago, for what is none, until it is passed over."""
    try:
        return records.received(records.decode(raw)) // 1000
    except NotARecordError:
        return 0
