// okeanides.js, the script for a tag: the original's API and the new one, on `window.oceanus`.

import { begin, configure, consent, identify, init, on, options, page, parameters, record, track, version } from "./tracker";
import type { Event } from "./tracker";

/** Something that a page queues: an event, or one of the functions below by its name, with what it is given. */
type Queued = Event | [name: "init" | "track" | "page" | "identify" | "consent", ...given: unknown[]];

/** What a page sees; before the script has come, what the page has made of it. */
interface Oceanus {
  q?: object;
  f(event?: Event): void;
  a(event?: Event): Record<string, string>;
  c(): unknown;
  click?: unknown;
  autosend?: unknown;
  version?: string;
  init: typeof init;
  track: typeof track;
  page: typeof page;
  identify: typeof identify;
  consent: typeof consent;
}

const global = window as unknown as { oceanus: Oceanus };
const oceanus = (global.oceanus = global.oceanus || []);

if (!oceanus.version) start(); // of two copies, the second does nothing

function start(): void {
  const { dataset, src } = (document.currentScript || {}) as HTMLScriptElement;
  const { q, click, autosend } = oceanus;
  const clicks = () => (options.clicks = true);
  const push = (queued: Queued) => {
    if (Array.isArray(queued)) (oceanus[queued[0]] as (...given: unknown[]) => void)(...queued.slice(1));
    else record(queued);
  };
  Object.assign(oceanus, {
    init,
    track,
    page,
    identify,
    consent,
    version,
    a: parameters,
    f: record,
    c: clicks,
    q: { push },
    click: { push: clicks },
  });

  configure(dataset, src);
  if (click) clicks();
  begin(() => {
    for (const queued of Object.values(q || {})) if (typeof queued == "object") push(queued as Queued);
    if (on("autosend") && (autosend ?? true)) page();
  });
}
