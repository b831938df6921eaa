"""What a release leaves in Redis: `python -m tests.r2bq.leave 0.2` writes it to releases/0.2.json, once per release.

The file has for each site the texts of each list, oldest first, as arms has pushed them.
"""

import json
import sys
from pathlib import Path

from oceanus import sites
from tests.arms.conftest import Arms

RELEASES = Path(__file__).parent / "releases"
FULL = {"uid": "u-1", "tit": "Thank you 😀", "scr": "1920x1080", "vie": "800x600", "enc": "utf-8"}
FULL |= {"jsn": '{"price":12000,"items":[{"sku":"A1"}]}', "ref": "https://search.example/?q=靴"}
SENT = {"oid": "1", "sid": "5ea15ea1", "evt": "send", "url": "https://shop.example/"}


def main() -> None:
    """Send a beacon of every kind, and write down what is pushed."""
    arms = Arms(sites.SAMPLE.read_text(encoding="utf-8"))
    for site in ("bizocean", "skj"):
        arms.swallow(site)
        arms.swallow(site, **FULL)
        arms.swallow(site, cid="0123456789abcdef" * 2)
        arms.swallow(site, cid="fedcba9876543210" * 2, re="1")
        arms.swallow(site, evt="x" * 99)  # refused, and so a failed record
    form = SENT | {"name": "山田", "cname": "会社", "email": "a@example.com", "tel": "03", "jsn": '{"message":"hello"}'}
    arms.client.simulate_post("/pirate/movieform", params=form)
    arms.client.simulate_get("/gaze/mailaction", params=SENT | {"evt": "read"})
    arms.client.simulate_get("/pierce/shortener", params=SENT | {"evt": "click", "rad": "203.0.113.9", "ua": "curl/8"})
    left: dict[str, dict[str, list[str]]] = {}
    for push in arms.spool.pushes:
        texts = left.setdefault(push.site, {}).setdefault(push.source, [])
        texts += [text.decode() for text in push.records]
    written = json.dumps(left, indent=1, ensure_ascii=False) + "\n"
    (RELEASES / f"{sys.argv[1]}.json").write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
