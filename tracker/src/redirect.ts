// redirect.js, within redirect.html: sends an event, then goes to the address it was given, if the site lists its host.

import { lists } from "./hosts";
import { parsed } from "./text";
import type { Event, Options } from "./tracker";

const DEBUG_MS = 3e4;
const PATIENCE_MS = 3e3; // then it goes without an answer: the beacon waits in this browser

const told = new URLSearchParams(location.search);
const { oceanus } = window as unknown as { oceanus: { f(event: Event): void; init(options: Options): void } };
const { hosts = "", site = "" } = document.body.dataset;
const given = told.get("url") || "";

/** Return where to go; undefined if that is no web address, or of a host that the site does not list. */
function target(): URL | undefined {
  try {
    const url = new URL(given);
    return /^https?:$/.test(url.protocol) && lists(hosts.split(/\s+/), url.hostname) ? url : undefined;
  } catch {
    return;
  }
}

function follow(url: URL): void {
  let gone = false;
  const go = () => {
    if (gone) return;
    gone = true;
    setTimeout(() => (location.href = url.href), told.get("debug") ? DEBUG_MS : 0);
  };
  // A copy on another host still has arms' placeholder here: its site is that of its own tag.
  oceanus.init({ ...(site.includes("{%") ? {} : { site }), autosend: false, spa: false });
  oceanus.f({
    evt: told.get("evt") || "redirect",
    oid: told.get("oid"),
    uid: told.get("uid"),
    url: given,
    ref: told.get("ref"),
    tit: told.get("tit"),
    jsn: parsed(told.get("jsn")),
    onload: go,
    onerror: go,
  });
  setTimeout(go, PATIENCE_MS);
}

const url = target();
if (url) follow(url);
else {
  document.getElementById("refused")!.hidden = false;
  document.getElementById("address")!.textContent = given;
}
