"""Tellings for the tests, about records of the sample's sites."""

from dataclasses import replace
from typing import Any

from oceanus import sites
from revelation.telling import Telling

SITES = sites.load(str(sites.SAMPLE))
RECORD = {
    "v": 1,
    "eid": "01935364-1a2b-7c3d-8e4f-0123456789ab",
    "dt": "2026-11-22 15:30:03.250000",
    "sid": "5ea1",
    "uid": "u-1",
    "evt": "paid",
    "tit": "Thank you",
    "url": "https://shop.example.com/paid",
    "jsn": '{"items":[{"sku":"A1"}],"kwd":"shoes","price":12000}',
}
TELLING = Telling(
    key="key",
    rule="paid",
    site="bizocean",
    destination="desk",
    action={},
    record=RECORD,
    more={"rule": "paid", "site": "bizocean", "count": 3},
    zone="Asia/Tokyo",
    made_us=1_795_361_403_000_000,
)


def telling(action: dict[str, Any], record: dict[str, Any] | None = None, **members: Any) -> Telling:
    """Return a telling with this `tell` about the record with these fields changed."""
    return replace(TELLING, action={"to": "desk"} | action, record=RECORD | (record or {}), **members)
