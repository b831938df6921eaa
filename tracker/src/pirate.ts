// pirate.js: forms, as the original's `oceanus_pirate.f` took them; without jQuery.
//
// What people type is not kept in the browser: a form that does not come through is tried three times more, under its
// own name (`cid`), so that it is one row, and then `onerror` says so, for the page to tell its visitor.

import { clean, json } from "./text";
import { configure, objection, random, sid } from "./visitor";

declare const VERSION: string;

/** A form; what is missing is filled in, or not sent. */
interface Form {
  name?: unknown;
  cname?: unknown;
  email?: unknown;
  tel?: unknown;
  jsn?: unknown;
  oid?: unknown;
  uid?: unknown;
  url?: unknown;
  /** Another address to send it to. */
  oceanus_url?: string;
  /** Called when it is stored. */
  onload?: unknown;
  /** Called when it was refused, or did not come through. */
  onerror?: unknown;
}

const FIELD = 65536;
const JSN = 10000;
const TRIES = 4;
const TRY_MS = 2e4;
const PAUSE_MS = 2e3;

const { dataset, src } = (document.currentScript || {}) as HTMLScriptElement;
const { site, endpoint, cookie, cookieDomain } = dataset || {};
const url = endpoint || (src ? new URL(src).origin : "") + "/pirate/" + (site || "movieform");
configure(cookieDomain, cookie == "none");

/** Return the parameters of a form. */
function parameters(given?: Form): Record<string, string> {
  const form = given || {};
  const { jsn } = form;
  const all: Record<string, string> = {
    name: clean(form.name || "", FIELD),
    cname: clean(form.cname || "", FIELD),
    email: clean(form.email || "", FIELD),
    tel: clean(form.tel || "", FIELD),
    jsn: jsn && Object.keys(jsn as object).length ? json(jsn, JSN) : "",
    oid: clean(form.oid || 2),
    uid: clean(form.uid || ""),
    url: clean(form.url || document.URL),
    enc: document.characterSet,
    sid: sid(),
    ver: VERSION,
    ...objection(),
  };
  for (const name of Object.keys(all)) if (!all[name]) delete all[name];
  return all;
}

/** Send a form. */
function send(given?: Form): void {
  const form = given || {};
  const told = { ...parameters(form), cid: random(16) };
  const call = (wanted: unknown) => typeof wanted == "function" && wanted();
  let tries = 0;
  const failed = () => {
    if (tries < TRIES) setTimeout(next, PAUSE_MS * tries);
    else call(form.onerror);
  };
  const next = () => {
    const body = new URLSearchParams(tries++ ? { ...told, re: "1" } : told);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), TRY_MS);
    fetch(form.oceanus_url || url, { method: "POST", body, keepalive: true, signal: stop.signal }).then((answer) => {
      if (answer.status >= 500 || answer.status == 429) failed();
      else call(answer.ok ? form.onload : form.onerror);
    }, failed);
  };
  next();
}

const global = window as unknown as { oceanus_pirate?: object };
global.oceanus_pirate = Object.assign({ a: parameters, f: send }, global.oceanus_pirate);
