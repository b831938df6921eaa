// The tracker: what a page tells it becomes the parameters of a beacon, and goes to delivery.

import * as delivery from "./delivery";
import { follow } from "./navigation";
import { read } from "./reading";
import { clean, json } from "./text";
import * as visitor from "./visitor";
import { watchErrors, watchForms, watchLinks } from "./watching";

declare const VERSION: string;
/** Version of the tracker, which goes with every beacon. */
export const version: string = VERSION;
/** Whether this is the build with everything in it. */
declare const FULL: boolean;

/** Off: `false`, "off" and "false"; all else is on, also an attribute that is only there. */
export type Switch = boolean | string | undefined;

/** What `init` takes, and the script tag as `data-` attributes. */
export interface Options {
  /** Name of the site in sites.yaml. */
  site?: string | undefined;
  /** Full address of its beacon route; default: the script's origin + /swallow/SITE. */
  endpoint?: string | undefined;
  /** Domain of the cookie; default: the page's host. */
  cookieDomain?: string | undefined;
  /** "arms": arms sets the cookie, too; "none": nothing is kept in the browser. */
  cookie?: string | undefined;
  /** What holds before `consent` is called: "granted", "denied", or "wait": nothing leaves until then. */
  consent?: string | undefined;
  /** Name of the site's consent parameter; default: consent. */
  consentName?: string | undefined;
  /** A page view by itself; on. */
  autosend?: Switch;
  /** A page view for each new address in a single-page application; on. */
  spa?: Switch;
  /** Submits of forms with `data-oceanus-form`; on. */
  forms?: Switch;
  /** Clicks on links, all of them; off. */
  clicks?: Switch;
  /** Clicks on links to other hosts; off. */
  outbound?: Switch;
  /** Clicks on links to files; off. */
  downloads?: Switch;
  /** How far a page was scrolled, told when it is left; off. */
  scroll?: Switch;
  /** How long a page was visible, told when it is left; off. */
  time?: Switch;
  /** Its Core Web Vitals, told when it is left; off. */
  vitals?: Switch;
  /** Scripts that fail; off. */
  errors?: Switch;
}

/** An event, as the original's `oceanus.f` takes it; what is empty or missing is filled in, or not sent. */
export interface Event {
  oid?: unknown;
  evt?: unknown;
  uid?: unknown;
  ref?: unknown;
  tit?: unknown;
  url?: unknown;
  jsn?: unknown;
  /** Another address to send it to. */
  oceanus_url?: string;
  /** Called when arms has answered for it. */
  onload?: unknown;
  /** Called when its first try has failed; it will be tried again. */
  onerror?: unknown;
}

export const options: Options = { autosend: true, spa: true, forms: true };
let origin = "";
let waits = true;
let off = false;
let begun = false;
const held: (() => void)[] = [];
let uid = "";
let pid = visitor.random(8);
let here = "";
// Intl takes 15 ms of the main thread for its first answer, Temporal half of one.
declare const Temporal: { Now: { timeZoneId(): string } };
const zone =
  typeof Temporal == "object" ? Temporal.Now.timeZoneId() : Intl.DateTimeFormat().resolvedOptions().timeZone;
let leave: (() => void) | undefined;

/** Say whether something is on. */
export const on = (name: keyof Options): boolean => !/^(off|false|undefined)$/.test("" + options[name]);
const address = () => location.href.split("#")[0]!;

/** Take options beside those that were taken before; `script`: the address of this script, if it has one. */
export function configure(given: Options, script?: string): void {
  Object.assign(options, given);
  if (script) origin = new URL(script).origin;
  visitor.configure(options.cookieDomain, options.cookie == "none");
  delivery.configure(options.cookie == "arms");
  waits = options.consent == "wait";
  if (!waits) consent(options.consent || visitor.answer);
}

/** Begin to watch, call `first`, and send what waits; a page that is only prepared (prerendering) begins when seen. */
export function begin(first: () => void): void {
  const { prerendering } = document as Document & { prerendering?: boolean };
  if (prerendering) {
    document.addEventListener("prerenderingchange", () => begin(first));
    return;
  }
  if (!begun) {
    begun = true;
    delivery.begin(); // before any other hears that the page goes, so that what they tell then is sent at once
    const look = () => {
      off = visitor.isOff();
      if (here && address() != here && on("spa")) page();
    };
    look();
    follow(look);
    watchLinks(record, on);
    if (FULL) {
      watchForms(record, on);
      watchErrors(record, on);
      leave = read(on, (jsn) => record({ evt: "leave", url: here, jsn }));
    }
  }
  first();
}

/** Take options, begin, and tell of a page view, unless `autosend` is off. */
export function init(given: Options = {}): void {
  configure(given);
  begin(() => on("autosend") && page());
}

/** Tell of a page view; in a single-page application the tracker does so itself. */
export function page(jsn?: unknown): void {
  const before = here;
  if (before) {
    leave?.();
    pid = visitor.random(8);
  }
  here = address();
  record({ jsn, ref: before });
}

/** Tell of an event by its name, with whatever is known about it. */
export function track(name: string, jsn?: unknown): void {
  record({ evt: name, jsn });
}

/** Say who the visitor is, for all events from now on; "": nobody. */
export function identify(id: string): void {
  uid = id;
}

/** Say what the visitor has answered: "granted" or "denied". What has waited for the answer is sent. */
export function consent(given: string): void {
  visitor.consent(given);
  waits = false;
  for (const send of held.splice(0)) send();
}

/** Take an event: send it, or hold it until the visitor has answered. No mistake in it may break the page. */
export function record(given?: Event): void {
  try {
    const event = given || {};
    const happened = what(event);
    const send = () =>
      delivery.send(
        event.oceanus_url || options.endpoint || origin + "/swallow/" + (options.site || ""),
        told(happened, event),
        event.onload,
        event.onerror,
      );
    if (off) delivery.call(event.onload);
    else if (!waits) send();
    else held.push(send);
  } catch {
    // a getter of the page's event throws
  }
}

/** Return the parameters of an event, as `oceanus.a` of the original does. */
export function parameters(event: Event = {}): delivery.Params {
  return told(what(event), event);
}

function what(event: Event): delivery.Params {
  const { documentElement: root } = document;
  const { jsn } = event;
  return {
    oid: clean(event.oid || 2),
    evt: clean(event.evt || "pageview"),
    ref: clean(event.ref || document.referrer),
    tit: clean(event.tit || document.title, 256),
    url: clean(event.url || document.URL),
    jsn: jsn && Object.keys(jsn as object).length ? json(jsn) : "",
    enc: document.characterSet,
    scr: screen.width + "x" + screen.height,
    vie: root.clientWidth + "x" + root.clientHeight,
    pid,
    lang: navigator.language,
    tz: zone,
    ver: version,
  };
}

/** Return what happened with who it was. */
function told(happened: delivery.Params, event: Event): delivery.Params {
  return Object.assign(happened, visitor.objection(), {
    uid: clean(event.uid || uid),
    sid: visitor.sid(),
    [options.consentName || "consent"]: visitor.answer,
  });
}
