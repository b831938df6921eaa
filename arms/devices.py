"""Devices: pc, mobile, tablet or bot, from a user agent, behind a cache: a site sees the same few thousand agents."""

import re
from functools import lru_cache

import ua_parser

_BOT = re.compile(r"bot\b|bot/|crawl|spider|slurp|curl/|wget/|python-|java/|headless|monitor|preview|feedfetcher", re.I)
_TABLET = re.compile(r"ipad|tablet|playbook|silk(?!.*mobile)|kindle|nexus (7|9|10)\b|sm-t\d", re.I)
_MOBILE = re.compile(r"iphone|ipod|mobile|phone|blackberry|opera m(ini|obi)|symbian|docomo|kddi|softbank", re.I)
_DESKTOP = re.compile(r"windows|mac ?os|linux|ubuntu|fedora|debian|chrome ?os|bsd|solaris", re.I)


@lru_cache(maxsize=20_000)
def device(agent: str) -> str:
    """Return pc, mobile, tablet, bot, or an empty text where the user agent says nothing."""
    if not agent:
        return ""
    parsed = ua_parser.parse(agent)
    family = parsed.device.family if parsed.device else ""
    system = parsed.os.family if parsed.os else ""
    if family == "Spider" or _BOT.search(agent):
        return "bot"
    android_tablet = system == "Android" and "Mobile" not in agent
    if android_tablet or _TABLET.search(agent):
        return "tablet"
    if system in ("Android", "iOS", "Windows Phone", "KaiOS") or _MOBILE.search(agent):
        return "mobile"
    return "pc" if _DESKTOP.search(system) else ""
