// Delivery: a beacon waits until arms has answered for it, whatever becomes of the page meanwhile.
//
// It has a name (`cid`), lies in localStorage from before its first try until its answer, and goes out again under the
// same name (`re=1`), so that it is one row however often it arrives. One request is on its way at a time; what comes
// meanwhile goes in the next, together. A try is given up after 20 s, and another page may send what it finds 30 s after
// its last try: arms must see a first try before its resend, or less than a minute after (docs/guarantee.md).

import { keeps, random } from "./visitor";

export type Params = Record<string, string>;

interface Waiting {
  url: string;
  /** What is sent, with `cid`, and what changes from try to try: `re` and `late`. */
  params: Params;
  /** When it was made, by Date.now(). */
  made: number;
  busy?: boolean;
  onload?: unknown;
  onerror?: unknown;
}

const KEY = "oceanus:";
const MOST = 100; // beacons that wait; arms takes as many in one request
// A batch ends with the beacon that passes this: a browser keeps 64 KiB alive after the page, and Firefox still counts
// those of a moment ago.
const BATCH_BYTES = 3e4;
const TRY_MS = 2e4;
const FOREIGN_MS = 3e4;
const OLDEST_MS = 5184e5; // six days: r2bq knows a first try for seven
const FIRST_DELAY_MS = 2e3;
const LONGEST_DELAY_MS = 3e5;

let waiting: Waiting[] = [];
let flying = 0;
let delay = 0;
let gone = false;
let pictured = false;
let credentials: RequestCredentials = "same-origin";

/** Say whether cookies go along to an arms of another origin, so that it may set one. */
export function configure(cookies: boolean): void {
  credentials = cookies ? "include" : "same-origin";
}

/** Send a beacon, sooner or later. `onload`: arms has answered for it; `onerror`: a try has failed. */
export function send(url: string, params: Params, onload?: unknown, onerror?: unknown): void {
  const one: Waiting = { url, params, made: Date.now(), onload, onerror };
  params.cid = random(16);
  for (const name of Object.keys(params)) if (!params[name]) delete params[name];
  if (waiting.push(one) > MOST) forget(waiting[0]!);
  keep(one);
  if (gone || !delay) flush();
}

/** Send what earlier pages have left, and what waits when the network is back and when the page goes. */
export function begin(): void {
  addEventListener("online", resume);
  addEventListener("pagehide", () => {
    gone = true;
    setTimeout(() => (gone = false)); // comes only if the page does
    flush();
  });
  setTimeout(resume);
  setTimeout(resume, FOREIGN_MS);
}

function resume(): void {
  try {
    adopt();
  } catch {
    // no localStorage: nothing was left
  }
  flush();
}

/** Send what waits, in one request; when the page goes, all of it, for there may be no later. */
function flush(): void {
  if (flying && !gone) return;
  const ready = waiting.filter((one) => !one.busy);
  let bytes = 0;
  if (!ready[0]) return;
  post(ready.filter((one) => one.url == ready[0]!.url && bytes < BATCH_BYTES && (bytes += query(one).length)));
  if (gone) flush();
}

function post(batch: Waiting[]): void {
  const { url } = batch[0]!;
  let body = "";
  flying++;
  for (const one of batch) {
    one.busy = true;
    keep(one);
  }
  try {
    if (pictured) throw 0;
    body = batch.map((one) => JSON.stringify(now(one))).join("\n");
    if (gone && !("keepalive" in Request.prototype)) throw 0;
    const stop = new AbortController();
    setTimeout(() => stop.abort(), TRY_MS);
    fetch(url, { method: "POST", body, keepalive: true, credentials, signal: stop.signal })
      .then((answer) => (answer.ok ? answer.json() : answer))
      .then(
        ({ status, results }) => end(batch, status, results),
        () => {
          // It did not come through, or nobody is left to hear; or its answer may not be read: an image's may.
          batch.forEach(again);
          if (gone || stop.signal.aborted) end(batch);
          else picture(batch);
        },
      );
  } catch {
    // No JSON, or no fetch that outlives the page: sendBeacon, which never says what became of it, or as the original.
    if (body && navigator.sendBeacon && navigator.sendBeacon(url, body)) end(batch, 200);
    else picture(batch);
  }
}

/** Send each by an image, which every page may. */
function picture(batch: Waiting[]): void {
  flying += batch.length - 1;
  for (const one of batch) {
    const image = new Image();
    image.onload = () => {
      pictured = true;
      end([one], 200);
    };
    image.onerror = () => end([one]);
    image.src = one.url + "?" + query(one);
  }
}

/** Take arms' answers: a beacon that was judged, well or badly, waits no more; any other is tried again later. */
function end(batch: Waiting[], status = 503, answers: { status: number }[] = []): void {
  flying--;
  let failed = false;
  batch.forEach((one, place) => {
    const over = (answers[place] || { status }).status < 429;
    const told = over ? one.onload : one.onerror;
    one.busy = false;
    again(one);
    if (over) forget(one);
    else failed = true;
    call(told);
  });
  delay = failed ? Math.min(delay * 2 || FIRST_DELAY_MS, LONGEST_DELAY_MS) : 0;
  if (failed) setTimeout(flush, delay * (0.5 + Math.random()));
  else flush();
}

/** Call what a page wants to be called, later, so that its mistakes are its own. */
export function call(wanted: unknown): void {
  if (typeof wanted == "function") setTimeout(wanted as () => void);
}

function again(one: Waiting): void {
  one.params.re = "1";
}

/** Return a beacon's parameters as they are for a try now. */
function now({ params, made }: Waiting): Params {
  params.late = "" + ((Math.max(0, Date.now() - made) / 1e3) | 0);
  return params;
}

const query = (one: Waiting): string => "" + new URLSearchParams(now(one));

/** Keep a beacon for the pages to come, if it is to wait and anything may be kept; else take it away from them. */
function keep(one: Waiting): void {
  const key = KEY + one.params.cid;
  try {
    if (waiting.includes(one) && keeps()) localStorage[key] = JSON.stringify([Date.now(), one.made, one.url, one.params]);
    else delete localStorage[key];
  } catch {
    // full, forbidden or missing: it waits in this page alone
  }
}

function forget(one: Waiting): void {
  waiting = waiting.filter((other) => other != one);
  keep(one);
}

/** Take over what other pages of this origin have left, unless it may still be on its way. */
function adopt(): void {
  const now = Date.now();
  for (const [key, text] of Object.entries<string>(localStorage)) {
    const cid = key.slice(KEY.length);
    if (!key.startsWith(KEY) || waiting.some((one) => one.params.cid == cid)) continue;
    try {
      const [tried, made, url, params] = JSON.parse(text);
      // The clock may have been set meanwhile, by years: what seems to come from the future is as old as what is not.
      if (Math.abs(now - made) > OLDEST_MS) throw 0;
      params.re = "1";
      if (Math.abs(now - tried) > FOREIGN_MS) waiting.push({ url, params, made });
    } catch {
      delete localStorage[key]; // too old, or not ours
    }
  }
}
