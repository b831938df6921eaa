"""The desk, on a real Redis and the local BigQuery: failed records and their retry, a record whole, the audit."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from arms.fingerprints import integrity
from management.console.desk import Arms, AskedWronglyError, Desk
from management.console.stream import Stream
from management.failed_table import FailedTable
from management.snippet import KINDS, snippet
from oceanus import records, sites
from oceanus import warehouse as warehouses
from oceanus.auditor import MAX_BYTES, Auditor
from oceanus.shards import Spools
from tests.management.test_retry import LAX, Deployment, deployment

__all__ = ["deployment"]
SCRIPT = b"/* the tracker */"
HOSTILE = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%E2%80%AE"


def a_desk(made: Deployment, stream: Stream | None = None, arms: str = "") -> Desk:
    """Return a desk as it is put together for a deployment."""
    queries = warehouses.Queries(made.warehouse.clients, made.naming.dataset)
    spools = Spools({"": made.spool}, {})
    auditor = Auditor(spools, queries, warehouses.Writer(made.warehouse.clients), made.naming)
    table = FailedTable(spools, queries, made.naming, MAX_BYTES)
    declared = sites.load(str(made.file))
    away = [lambda: None, lambda: None]  # arms is not asked, BigQuery is there
    return Desk(declared, table, auditor, stream or Stream(), Arms(url=arms, token=""), *away, str(made.file))


def test_a_failed_record_is_shown_with_its_reason_and_retried_once_however_often_it_is_pressed(deployment):
    [bad] = deployment.send(f"q=poodle&x={HOSTILE}")
    fid = bad.failed.fid
    on_the_way = a_desk(deployment).failed("", "", "24h")
    deployment.drain()

    found = a_desk(deployment).failed("search", "MAX LENGTH", "1h")
    still = a_desk(deployment).failed_record(fid)
    refused = a_desk(deployment).retry(fid)
    deployment.declare(LAX)
    mended = a_desk(deployment).failed_record(fid)
    with ThreadPoolExecutor(4) as pressing:
        outcomes = [told["outcome"] for told in pressing.map(lambda _: a_desk(deployment).retry(fid), range(4))]
    deployment.drain()

    assert (on_the_way["records"], on_the_way["waiting"]) == ([], 1)
    assert [(one["reason"], one["records"]) for one in found["reasons"]] == [("q: max length is 3", 1)]
    assert [(one["fid"], one["stage"], one["sent_again"]) for one in found["records"]] == [(fid, "rules", False)]
    assert (still["can"], refused["outcome"], mended["can"]) == (False, "cannot", True)
    assert still["record"]["retry"] == "cannot be sent: still rejected: q: max length is 3"
    assert sorted(outcomes) == ["before", "before", "before", "sent"]
    assert deployment.landed() == ["poodle"]
    assert a_desk(deployment).failed("", "", "")["records"][0]["sent_again"] is True


def test_a_record_is_shown_from_the_stream_and_from_its_table_once_it_is_gone_there(deployment):
    [good] = deployment.send("q=cat")
    stream, now_us = Stream(), time.time_ns() // 1000
    stream.hear("search", good.text)
    with pytest.raises(AskedWronglyError, match="not in its table yet"):
        a_desk(deployment).record("search", good.eid, now_us)
    deployment.drain()

    heard = a_desk(deployment, stream).record("search", good.eid, now_us)
    landed = a_desk(deployment).record("search", good.eid, now_us)

    assert (heard["from"], heard["fields"]["q"]) == ("stream", "cat")
    assert (landed["from"], landed["fields"]["q"]) == (f"{deployment.naming.dataset}.search", "cat")
    with pytest.raises(AskedWronglyError, match="declares no site"):
        a_desk(deployment).record("nosuch", good.eid, now_us)


def test_where_a_test_beacon_is_follows_it_to_its_row(deployment):
    [good] = deployment.send("q=cat")
    answered_us = time.time_ns() // 1000
    desk = a_desk(deployment)

    waits = desk.where("search", good.eid, answered_us)
    deployment.drain()
    row = desk.where("search", good.eid, answered_us)
    deployment.send("q=dog")
    later = desk.where("search", good.eid, answered_us)
    unknown = desk.where("search", records.mint(), answered_us)

    assert [told["place"] for told in (waits, row, later, unknown)] == ["waits", "row", "row", "unknown"]


def test_without_arms_a_test_beacon_and_a_snippet_say_what_to_set(deployment):
    desk = a_desk(deployment)

    with pytest.raises(AskedWronglyError, match="CONSOLE_ARMS_URL"):
        desk.send_test("search")
    with pytest.raises(AskedWronglyError, match="is it running"):
        a_desk(deployment, arms="http://127.0.0.1:1").send_test("search")
    kinds = a_desk(deployment, arms="http://127.0.0.1:1").snippets(
        "search", "https://log.example", "https://a.example/"
    )
    assert "does not answer" in kinds["kinds"][0]["error"]
    assert "https://log.example/swallow/search?" in kinds["kinds"][1]["text"]


class Scripts(BaseHTTPRequestHandler):
    """An arms that has the script, and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/static/js/okeanides.js" else 404)
        self.send_header("Content-Length", str(len(SCRIPT)))
        self.end_headers()
        self.wfile.write(SCRIPT)

    def log_message(self, *_: object) -> None: ...


def test_a_snippet_names_the_script_as_arms_serves_it_and_the_collector_as_browsers_see_it(deployment):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripts)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    desk = a_desk(deployment, arms=f"http://127.0.0.1:{server.server_address[1]}/")

    told = desk.snippets("search", "https://log.shop.example", "")
    wrong = desk.snippets("search", "log.shop.example", "")
    server.shutdown()
    server.server_close()

    assert [one["kind"] for one in told["kinds"]] == list(KINDS)
    assert told["kinds"][0]["text"] == snippet(deployment.site, "https://log.shop.example", "tag", SCRIPT)
    assert integrity(SCRIPT) in told["kinds"][0]["text"]
    assert "must be an address" in wrong["kinds"][0]["error"]


def test_the_audit_s_answer_is_that_of_the_command_and_one_runs_at_a_time(deployment):
    deployment.create(deployment.naming.audit)
    deployment.send("q=cat", "q=dog")
    deployment.drain()
    desk = a_desk(deployment)
    before = desk.audited()

    several = [threading.Thread(target=desk.audit, args=(1,)) for _ in range(3)]
    for one in several:
        one.start()
    for one in several:
        one.join()

    answer = desk.audited()["answer"]
    assert before == {"running": False, "answer": None}
    assert (answer["outcome"], answer["is_right"]) == ("agrees, as far as Redis has counted", True)
    assert (answer["sites"]["search"]["accepted"], answer["sites"]["search"]["landed"]) == (2, 2)
    assert answer["total"]["missing"] == 0


@pytest.mark.parametrize("fid", ["x", "'; DROP TABLE", "019a4b6e-3c00-7abc-8def-0123456789aX"])
def test_what_is_no_id_is_not_looked_for(deployment, fid):
    desk = a_desk(deployment)

    for ask in (lambda: desk.retry(fid), lambda: desk.failed_record(fid), lambda: desk.record("search", fid, 0)):
        with pytest.raises(AskedWronglyError, match="is no id of ours"):
            ask()
