"""Fetching: one request to an address that anybody may have given, with limits to its time, size and redirects."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import httpx

from management.console.trial import Trial
from management.verify import Answer

SECONDS = 15.0  # for all of one answer, redirects and all
STEP_SECONDS = 5.0  # for a connection, and for each piece
MOST_BYTES = 2_000_000
MOST_HOPS = 5
AGENT = "Mozilla/5.0 (compatible; oceanus-verify)"
_REDIRECTS = (301, 302, 303, 307, 308)


def get(url: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return what an address answers, at the end of its redirects, of which only those to http and https are followed.

    At most MOST_BYTES of it, in SECONDS. What goes wrong is the answer's `trouble`.
    """
    deadline, hops, at = time.monotonic() + SECONDS, list[str](), url
    with _client(headers or {}) as client:
        while True:
            answer = _one(client, "GET", at, deadline)
            onward = _onward(at, answer)
            if not onward:
                return _with(answer, hops)
            if len(hops) >= MOST_HOPS:
                return _with(Answer(url=at, trouble=f"redirects more than {MOST_HOPS} times"), hops)
            if not onward.startswith(("http://", "https://")):
                return _with(Answer(url=at, trouble=f"redirects to {onward[:100]}, which is not followed"), hops)
            hops.append(at)
            at = onward


def head(url: str) -> Answer:
    """Return what an address answers to a HEAD, of which arms stores nothing; redirects are not followed."""
    with _client({}) as client:
        return _one(client, "HEAD", url, time.monotonic() + SECONDS)


def send(beacon: Trial, url: str) -> Answer:
    """Send a test beacon to an address, and return what it is answered; redirects are not followed."""
    fields: dict[str, Any] = {"params": beacon.parameters} if beacon.method == "GET" else {"data": beacon.parameters}
    with _client(beacon.headers) as client:
        return _one(client, beacon.method, url, time.monotonic() + SECONDS, **fields)


def _client(headers: Mapping[str, str]) -> httpx.Client:
    """Return a client that asks for nothing packed, so that a small answer cannot become a large one."""
    told = {"User-Agent": AGENT, "Accept-Encoding": "identity"} | dict(headers)
    return httpx.Client(headers=told, timeout=STEP_SECONDS, follow_redirects=False, trust_env=False)


def _one(client: httpx.Client, method: str, url: str, deadline: float, **fields: Any) -> Answer:
    body, is_cut = bytearray(), False
    try:
        with client.stream(method, url, **fields) as response:
            for piece in response.iter_bytes(65_536):
                body += piece
                if time.monotonic() > deadline:
                    return Answer(url=url, trouble=f"has not answered whole in {SECONDS:g} s")
                if len(body) > MOST_BYTES:
                    is_cut = True
                    break
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
        return Answer(url=url, trouble=f"no answer: {exc or type(exc).__name__}")
    policies = response.headers.get_list("Content-Security-Policy")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(
        url=url,
        status=response.status_code,
        headers=headers,
        policies=policies,
        body=bytes(body[:MOST_BYTES]),
        is_cut=is_cut,
    )


def _onward(url: str, answer: Answer) -> str:
    """Return where an answer leads; empty where it is the last."""
    if answer.status not in _REDIRECTS or not answer.headers.get("location"):
        return ""
    try:
        return urljoin(url, answer.headers["location"].strip())
    except ValueError:
        return answer.headers["location"]


def _with(answer: Answer, hops: list[str]) -> Answer:
    return replace(answer, hops=tuple(hops))
