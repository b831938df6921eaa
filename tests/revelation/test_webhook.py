"""revelation.webhook, with its calls and dialling: what is posted where, and that nothing a place does escapes."""

import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus.errors import RefusedError, TryAgainError
from revelation.calls import checked, wait_seconds
from revelation.dialling import is_public, public
from revelation.telling import Message
from revelation.webhook import Webhook, encoded, may_ask
from tests.revelation.places import Place, Reply, certificate, closed_port, silent_port

SECONDS = 2.0
MESSAGE = Message(key="paid:1a2b", body={"price": 10000, "title": "東京 🎉"})


class Names:
    """A name server that answers each time with the next list of addresses, and counts."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


class Lost:
    """A name server that knows nothing."""

    def __call__(self, host: str, port: int) -> list[str]:
        raise OSError("no such name")


class Stuck:
    """A name server that does not answer."""

    def __call__(self, host: str, port: int) -> list[str]:
        time.sleep(3)
        return ["127.0.0.1"]


def local(url: str, **more: Any) -> Webhook:
    return Webhook(url, allow_private=True, **{"seconds": SECONDS, **more})


def failure(webhook: Webhook) -> TryAgainError | RefusedError:
    began = time.monotonic()
    with pytest.raises((TryAgainError, RefusedError)) as caught:
        webhook.tell(MESSAGE)
    assert time.monotonic() - began < SECONDS + 20
    assert "\n" not in str(caught.value)
    error = caught.value
    assert isinstance(error, TryAgainError | RefusedError)
    return error


def test_body_is_posted_as_json_with_its_key_and_signed() -> None:
    with Place() as place:
        local(f"{place.url}/in?a=1", secret="s3cret", clock=lambda: 1_790_000_000.7).tell(MESSAGE)

    [asked] = place.asked
    expected = hmac.new(b"s3cret", b"1790000000." + asked.body, hashlib.sha256).hexdigest()
    assert (asked.method, asked.path, json.loads(asked.body)) == ("POST", "/in?a=1", MESSAGE.body)
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["user-agent"] == "oceanus"
    assert asked.headers["idempotency-key"] == "paid:1a2b"
    assert asked.headers["x-oceanus-timestamp"] == "1790000000"
    assert asked.headers["x-oceanus-signature"] == f"v1={expected}"


def test_several_threads_tell_by_one_webhook() -> None:
    with Place(Reply(how="slow", seconds=0.05)) as place, ThreadPoolExecutor(8) as threads:
        hook = local(place.url, seconds=10)
        list(threads.map(lambda index: hook.tell(Message(key=str(index), body={"index": index})), range(40)))

    assert sorted(json.loads(asked.body)["index"] for asked in place.asked) == list(range(40))


def test_without_a_secret_nothing_is_signed() -> None:
    with Place() as place:
        local(place.url).tell(MESSAGE)

    assert "x-oceanus-signature" not in place.asked[0].headers


def test_a_key_of_any_characters_is_one_header() -> None:
    with Place() as place:
        local(place.url).tell(Message(key="店\r\nX-Evil: 1\ud800", body={}))

    assert place.asked[0].headers["idempotency-key"] == "%E5%BA%97%0D%0AX-Evil:%201?"
    assert "x-evil" not in place.asked[0].headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_told(status: int) -> None:
    with Place(Reply(status=status)) as place:
        local(place.url).tell(MESSAGE)

    assert len(place.asked) == 1


@pytest.mark.parametrize("how", ["cut_middle", "endless"])
def test_a_bad_body_behind_2xx_is_told(how: Any) -> None:
    with Place(Reply(how=how, body=b"x" * 1000)) as place:
        local(place.url).tell(MESSAGE)


@pytest.mark.parametrize(("status", "unclear"), [(408, False), (425, False), (429, False), (500, False), (503, False),
                                                 (502, True), (504, True)])  # fmt: skip
def test_trouble_of_the_place_is_tried_again(status: int, unclear: bool) -> None:
    with Place(Reply(status=status, headers={"Retry-After": "7"})) as place:
        error = failure(local(place.url))

    assert isinstance(error, TryAgainError)
    assert (error.seconds, error.unclear, str(error)) == (7, unclear, f"127.0.0.1 answered {status}")


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422])
def test_other_answers_are_refusals_and_no_redirect_is_followed(status: int) -> None:
    with Place() as other, Place(Reply(status=status, headers={"Location": other.url})) as place:
        error = failure(local(f"{place.url}/hooks/T0PSECRET?k=T0PSECRET"))

    assert isinstance(error, RefusedError)
    assert "T0PSECRET" not in str(error)
    assert (len(place.asked), len(other.asked)) == (1, 0)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(how="cut_before"),
        Reply(how="never"),
        Reply(how="slow", seconds=3),
        Reply(how="drip", seconds=0.05),
        Reply(how="raw", body=b"\x00\xffgarbage\r\n\r\n"),
        Reply(how="raw", body=b"HTTP/1.1 999999 no\r\n\r\n"),
        Reply(how="raw", body=b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 300_000),
        Reply(how="raw", body=b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
        Reply(how="raw", body=b""),
    ],
    ids=["cut", "never", "slow", "drip", "garbage", "status", "headers", "continues", "nothing"],
)
def test_no_answer_after_sending_is_unclear(reply: Reply) -> None:
    with Place(reply) as place:
        error = failure(local(place.url))

    assert isinstance(error, TryAgainError)
    assert error.unclear


def test_nothing_was_delivered_where_nobody_listens() -> None:
    error = failure(local(f"http://127.0.0.1:{closed_port()}"))

    assert isinstance(error, TryAgainError)
    assert (error.unclear, error.seconds) == (False, None)


@pytest.mark.parametrize("names", [Lost(), Stuck(), Names([])], ids=["lost", "stuck", "none"])
def test_a_name_that_cannot_be_looked_up_is_tried_again(names: Any) -> None:
    error = failure(local("http://hook.test", resolve=names))

    assert isinstance(error, TryAgainError)
    assert not error.unclear


def test_tls_goes_by_the_name_though_the_address_was_looked_up_before(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, "hook.test")
    names = Names(["127.0.0.1"])

    with Place(context=server) as place:
        local(f"https://hook.test:{place.port}/in", resolve=names, context=client).tell(MESSAGE)

    assert place.asked[0].headers["host"] == f"hook.test:{place.port}"
    assert names.asked == ["hook.test"]


@pytest.mark.parametrize(("name", "days"), [("other.test", 1), ("hook.test", -1)])
def test_a_bad_certificate_is_tried_again_and_nothing_was_sent(tmp_path: Path, name: str, days: int) -> None:
    server, client = certificate(tmp_path, name, days=days)

    with Place(context=server) as place:
        error = failure(local(f"https://hook.test:{place.port}", resolve=Names(["127.0.0.1"]), context=client))

    assert isinstance(error, TryAgainError)
    assert "certificate" in str(error)
    assert (error.unclear, place.asked) == (False, [])


def test_an_unknown_authority_and_a_server_without_tls_are_tried_again(tmp_path: Path) -> None:
    server, _ = certificate(tmp_path, "127.0.0.1")

    with Place(context=server) as place, Place() as plain:
        unknown = failure(local(place.url))
        without = failure(local(f"https://127.0.0.1:{plain.port}"))

    assert isinstance(unknown, TryAgainError)
    assert isinstance(without, TryAgainError)
    assert (unknown.unclear, without.unclear) == (False, False)


def test_a_handshake_that_never_comes_ends_in_time() -> None:
    with silent_port() as port:
        error = failure(local(f"https://127.0.0.1:{port}"))

    assert isinstance(error, TryAgainError)
    assert not error.unclear


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::8.8.8.8",
        "::ffff:0:8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:808:808::1",
        "2002:7f00:1::", "2001:0:4136:e378::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_public_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_private_address_is_refused_in_every_spelling(host: str) -> None:
    with Place() as place:
        error = failure(Webhook(f"http://{host}:{place.port}", seconds=SECONDS))

    assert isinstance(error, RefusedError)
    assert place.asked == []


def test_a_name_that_changes_its_address_is_asked_once() -> None:
    names = Names(["127.0.0.1"], ["93.184.216.34"])

    with Place() as place:
        error = failure(Webhook(f"http://rebound.test:{place.port}", seconds=SECONDS, resolve=names))

    assert isinstance(error, RefusedError)
    assert (names.asked, place.asked) == (["rebound.test"], [])


def test_of_several_addresses_the_private_ones_are_left_out() -> None:
    assert public(["127.0.0.1", "93.184.216.34", "::1", "1.1.1.1"]) == ["93.184.216.34", "1.1.1.1"]


def test_a_dead_address_leaves_time_for_the_next() -> None:
    with Place() as place:
        local(f"http://two.test:{place.port}", resolve=Names(["127.0.0.2", "127.0.0.1"])).tell(MESSAGE)

    assert len(place.asked) == 1


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Place() as proxy, Place() as place:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        local(place.url).tell(MESSAGE)

    assert (len(proxy.asked), len(place.asked)) == (0, 1)


@pytest.mark.parametrize(
    ("host", "hosts", "may"),
    [
        ("hook.example.com", {"hook.example.com"}, True),
        ("HOOK.example.com.", {"Hook.Example.com"}, True),
        ("a.b.example.com", {".example.com"}, True),
        ("example.com", {".example.com"}, True),
        ("badexample.com", {".example.com"}, False),
        ("sub.hook.example.com", {"hook.example.com"}, False),
        ("example.com.evil.test", {".example.com", "example.com"}, False),
        ("example.com", set(), False),
    ],
)
def test_allowed_hosts(host: str, hosts: set[str], may: bool) -> None:
    assert may_ask(host, frozenset(hosts)) is may


def test_a_host_that_is_not_allowed_stops_the_start() -> None:
    with pytest.raises(ValueError, match=r"evil\.test is not among"):
        Webhook("https://evil.test/", hosts=frozenset({".example.com"}))


@pytest.mark.parametrize(
    "url",
    ["", "hook", "ftp://a.test/", "file:///etc/passwd", "https://", "https://u:pw@a.test/", "https://a.test/\r\nX: 1",
     "https://a test/", "https://a.test:99999/", "https://" + "a" * 64 + ".test/", "https://a.test/店", "http://[::1",
     "https://\ud800.test/"],
)  # fmt: skip
def test_what_is_no_address_stops_the_start(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        checked(url)

    assert "pw" not in str(caught.value)


def test_a_name_in_other_letters_is_written_in_ascii() -> None:
    assert checked("https://例え.テスト/a#b") == "https://xn--r8jz45g.xn--zckzah/a"


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": object()}, {"a": {1, 2}}])
def test_what_json_cannot_hold_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        encoded(body)


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert encoded({"a": "x\ud800y"}) == b'{"a":"x?y"}'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), (" 0 ", 0), ("9" * 400, 86_400), ("-1", None), ("soon", None), ("", None), ("1.5", None), ("inf", None),
     ("Fri, 99 Foo 2026", None), (formatdate(1_000_060, usegmt=True), 60), (formatdate(999_000, usegmt=True), 0),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400), ("Fri, 31 Dec 9999 23:59:59 -2359", 86_400)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert wait_seconds(text, 1_000_000) == seconds


@given(st.text())
def test_retry_after_may_say_anything(text: str) -> None:
    wait_seconds(text, 1_000_000)
