"""The collector: takes one beacon from judgement to disk. Every route ends here; what they differ in is their answers.

arrival (HTTP) -> intake.take (pure) -> gather.store (Redis' disk) -> the answer
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from arms import metrics
from arms.arrival import Request, client_address
from arms.gather import Gather, NotStoredError, Told, Waiting, settle
from arms.intake import Accepted, Dropped, Intake, Outcome, Rejected, Sent
from arms.limits import Limited, LimitedError, Limits, day
from arms.parameters import ParameterError
from arms.plain import Plain, plain_members
from arms.quota import Quota
from oceanus import records
from oceanus.records import Failed
from oceanus.settings import Network
from oceanus.sites import Site, Sites
from oceanus.worker import is_internal

log = logging.getLogger(__name__)

_ASCII = bytes(range(128))
_PROXIED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via")


def microseconds() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom arms believes what."""

    proxies: int
    token: str
    internal: tuple[Network, ...]


class Collector:
    """The sites with their rules, and the way to Redis."""

    def __init__(
        self,
        sites: Sites,
        gather: Callable[[str], Gather],
        quota: Quota,
        trust: Trust,
        device: Callable[[str], str],
        clock: Callable[[], int] = microseconds,
        limits: Limits | None = None,
    ) -> None:
        self.sites = sites
        self._limits = limits
        self._gather = gather  # that of the Redis in which a site lives
        self._quota = quota
        self._trust = trust
        self._clock = clock
        self._counted: list[Failed] = []
        self._intakes = {name: Intake(site, device) for name, site in sites.items()}
        self._plain = {name: Plain(site, self._intakes[name].checks, device) for name, site in sites.items()}

    def site(self, method: str, name: str | None) -> Site | None:
        """Return the site that a path means: the first of its method where it names none."""
        if name is None:
            return self.sites.first(method)
        found = self.sites.get(name)
        return found if found and found.method == method else None

    def address(self, req: Request) -> str:
        """Return the client's address, by the number of trusted proxies."""
        return self.address_of(req.get_header("X-Forwarded-For"), req.peer())

    def address_of(self, forwarded: str | None, peer: str) -> str:
        """Return the client's address, by X-Forwarded-For and whoever holds the other end of the connection."""
        return client_address(forwarded, peer, self._trust.proxies)

    def is_internal(self, req: Request) -> bool:
        """Say whether the client may see what is for operators alone.

        Where a proxy that nobody has declared stands on this machine, everyone seems to come from here: nobody may.
        """
        if self._trust.proxies == 0 and any(req.get_header(name) for name in _PROXIED):
            return False
        return is_internal(self.address(req), self._trust.internal)

    def sent(
        self, site: Site, req: Request, parameters: Sequence[tuple[str, Any]] | ParameterError, body: str = ""
    ) -> Sent:
        """Return what arrived, in the form that the intake judges."""
        headers = req.texts()
        trusted, refusal = self._caller(site, headers)
        query = req.raw_query.decode() if req.raw_query.isascii() else quote(req.raw_query, safe=_ASCII)
        raw = (f"{query}\n{body}" if query else body) if body else query
        wrong = parameters if isinstance(parameters, ParameterError) else None
        return Sent(
            parameters=() if isinstance(parameters, ParameterError) else parameters,
            headers=headers,
            address=headers.get("x-oceanus-address", "")
            if trusted and "x-oceanus-address" in headers
            else self.address(req),
            now_us=self._clock(),
            route=req.path,
            raw=raw,
            body_at=len(raw) - len(body) if body else None,
            given_time=headers.get("x-oceanus-time") if trusted else None,
            unreadable=wrong,
            refusal=refusal,
            trusted=trusted,
        )

    async def collect(self, site: Site, sent: Sent) -> Outcome:
        """Judge a beacon and store what it became; raises NotStoredError if that is not on disk.

        Raises LimitedError, with nothing judged, where the site or the sender has had enough.
        """
        limited = self._limited(site, sent.address, sent.now_us, trusted=sent.trusted)
        if limited is not None:
            raise LimitedError(limited)
        outcome = self._intakes[site.name].take(sent)
        if isinstance(outcome, Accepted):
            await self.store_accepted(site, outcome)
        else:
            await self._store_rejected(site, outcome)
        return outcome

    async def collect_plain(self, site: Site, req: Request, beacon: Any) -> Accepted | None:
        """Store a beacon of a batch if it is a plain one; None: judge it in full. Raises as `collect` does."""
        members = plain_members(beacon)
        plain = None if members is None else self.judge_plain(site, members, req.raw_headers(), self.address(req))
        if isinstance(plain, Limited):
            raise LimitedError(plain)
        if plain is not None:
            await self.store_accepted(site, plain)
        return plain

    def judge_plain(
        self, site: Site, parameters: Mapping[str, Any], headers: Mapping[bytes, bytes], address: str
    ) -> Accepted | Limited | None:
        """Return a plain beacon, accepted, or limited; None for any other. `headers` by small name."""
        if site.origins.enforce or b"authorization" in headers:
            return None
        now_us = self._clock()
        plain = self._plain[site.name].take(parameters, headers, address, now_us)
        return None if plain is None else self._limited(site, address, now_us) or plain

    def _limited(self, site: Site, address: str, now_us: int, *, trusted: bool = False) -> Limited | None:
        """Return why a beacon is not taken now, if so, and count it."""
        if self._limits is None:
            return None
        limited = self._limits.judge(site.name, address, now_us, trusted=trusted)
        if limited is None:
            return None
        metrics.LIMITED.labels(site.name, limited.limit).inc()
        if limited.limit == "day" and self._limits.caps.is_news(site.name, day(now_us)):
            log.warning("%s has its beacons for today (daily_cap): others are answered 429 until midnight", site.name)
        return limited

    async def store_accepted(self, site: Site, accepted: Accepted) -> None:
        """Return when an accepted beacon is on disk; raises NotStoredError."""
        stored = asyncio.get_running_loop().create_future()
        self.put_accepted(site, accepted, partial(settle, stored))
        await stored

    def put_accepted(self, site: Site, accepted: Accepted, told: Told) -> None:
        """Take an accepted beacon; `told` hears once whether it is on disk: later, or within this call."""
        if self._limits is not None:
            told = partial(self._told, site.name, accepted.minute[:8], told)
        self._gather(site.name).put(
            Waiting(
                site.name,
                "resends" if accepted.again else "queue",
                accepted.minute,
                accepted.digest,
                accepted.received_ms,
                accepted.text,
                site.alerts,
                accepted.named,
                told,
            )
        )

    def _told(self, site: str, day: str, told: Told, refusal: str | None) -> None:
        if self._limits is not None and refusal is None:
            self._limits.caps.add(site, day)
        told(refusal)

    async def learn_counts(self, accepted: Callable[[Sequence[str], str], Awaitable[Sequence[int]]]) -> None:
        """Take what Redis has counted today for the sites that have a cap; raises SpoolError."""
        if self._limits is None or not self._limits.caps.sites:
            return
        today = day(self._clock())
        counts = await accepted(self._limits.caps.sites, today)
        for name, count in zip(self._limits.caps.sites, counts, strict=True):
            self._limits.caps.learn(name, today, count)

    async def learn_last(self, last_ms: Callable[[Sequence[str]], Awaitable[Sequence[int | None]]]) -> None:
        """Learn when each site had its last beacon, so that a restart forgets no silence; raises SpoolError."""
        names = list(self.sites)
        for name, last in zip(names, await last_ms(names), strict=True):
            if last is not None:
                metrics.LAST.labels(name).set(last / 1000)

    async def store_counted(self, everything: bool = False) -> None:
        """Store what the quota has counted for minutes that are over; what cannot be stored is kept for the next call.

        Raises NotStoredError where one of them was not, after all have been tried: sites may lie in several Redis.
        """
        self._counted += self._quota.due(self._clock(), everything)
        failure: NotStoredError | None = None
        for one in list(self._counted):
            try:
                await self._store_failed(one)
            except NotStoredError as exc:
                failure = exc
                continue
            self._counted.remove(one)
            metrics.FAILED.labels(one.site, "counted").inc()
        if failure:
            raise failure

    def _caller(self, site: Site, headers: Mapping[str, str]) -> tuple[bool, tuple[str, str] | None]:
        """Return whether the caller proved that it may be believed, and the reason for a 403 if there is one."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        claims = scheme.lower() == "bearer"
        right = (
            claims
            and bool(self._trust.token)
            and hmac.compare_digest(given.strip().encode(), self._trust.token.encode())
        )
        if claims and not right:
            return False, ("caller", "the token is not TRUST_TOKEN")
        if site.method == "pierce" and site.callers == "token" and not right:
            return False, ("caller", "this site takes beacons with Authorization: Bearer TRUST_TOKEN only")
        if site.origins.enforce and not right:
            origin = page_origin(headers)
            if origin is not None and origin not in site.origins.allow:
                return False, ("origin", "not one that this site lists")
        return right, None

    async def _store_rejected(self, site: Site, outcome: Rejected | Dropped) -> None:
        failed = outcome.failed if isinstance(outcome, Rejected) else None
        if failed and self._quota.admit(failed.site, failed.reason, self._clock()):
            metrics.FAILED.labels(failed.site, "whole").inc()
            try:
                await self._store_failed(failed)
            except NotStoredError:
                metrics.BEACONS.labels(site.name, "unavailable").inc()
                raise
        metrics.BEACONS.labels(site.name, "dropped" if isinstance(outcome, Dropped) else "rejected").inc()
        if isinstance(outcome, Rejected):
            metrics.REJECTED.labels(site.name, outcome.kind).inc()

    async def _store_failed(self, failed: Failed) -> None:
        await self._gather(failed.site).store(
            failed.site,
            "failed",
            failed.encode(),
            minute=records.minute(failed.dt),
            digest=records.digest(failed.fid),
            received_ms=records.received_us(failed.fid) // 1000,
        )


def page_origin(headers: Mapping[str, str]) -> str | None:
    """Return the origin of the page that sent this, by Origin or else by Referer; None where neither says.

    An image has no Origin header, so that a page is known by its Referer there; a request with neither (a mail, a
    page that sends no referrer) cannot be judged, and is taken.
    """
    told = headers.get("origin") or headers.get("referer", "")
    if not told:
        return None
    try:
        parts = urlsplit(told)
        default = {"http": 80, "https": 443}.get(parts.scheme) == parts.port
    except ValueError:
        return told[:100]
    host = parts.netloc.rpartition(":")[0] if default else parts.netloc
    return f"{parts.scheme}://{host}".lower() if parts.scheme and host else told[:100]
