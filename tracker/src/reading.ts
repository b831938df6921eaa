// Reading: how far a page was scrolled, how long it was visible, and how it felt (Core Web Vitals).
//
// It is told whenever the page is hidden, for that is the last thing a browser surely says; each time the whole so far,
// under the same page-view id: the last row of a page view is the one that counts.

import type { Options } from "./tracker";

type On = (name: keyof Options) => boolean;
type Numbers = Record<string, number>;

/** Tell of what is on when the page is hidden; returns what tells of it at once, and begins anew. */
export function read(on: On, tell: (numbers: Numbers) => void): () => void {
  let visible = 0;
  let since = 0;
  let lowest = 0;
  let vitals = on("vitals") ? watchVitals() : undefined;
  const pause = () => {
    if (!since) return;
    visible += performance.now() - since;
    since = 0;
    const numbers: Numbers = {};
    if (on("time")) numbers.seconds = Math.round(visible / 100) / 10;
    if (on("scroll"))
      numbers.scroll = Math.min(100, Math.round(((lowest + innerHeight) / document.documentElement.scrollHeight) * 100));
    Object.assign(numbers, vitals?.());
    if (Object.keys(numbers).length) tell(numbers);
  };
  const turn = () => (document.hidden ? pause() : (since = since || performance.now()));
  document.addEventListener("visibilitychange", turn);
  addEventListener("pagehide", pause);
  addEventListener("pageshow", turn);
  addEventListener("scroll", () => (lowest = Math.max(lowest, scrollY)), { passive: true });
  turn();
  return () => {
    pause();
    visible = lowest = 0;
    vitals = undefined; // they are of a load
    turn();
  };
}

interface Entry extends PerformanceEntry {
  hadRecentInput?: boolean;
  interactionId?: number;
  responseStart?: number;
  activationStart?: number;
  value?: number;
}

/** Watch the load and what follows; returns what says how it was: milliseconds, and `cls` without a unit. */
function watchVitals(): () => Numbers {
  const told: Numbers = {};
  const slow: Numbers = {};
  const hidden = document.hidden; // a page that is loaded unseen is painted when somebody looks
  let shift = 0, first = 0, last = 0; // a session of layout shifts: gaps under 1 s, 5 s in all
  const since = (milliseconds: number) => {
    const [load] = performance.getEntriesByType("navigation") as Entry[];
    return Math.max(0, Math.round(milliseconds - (load?.activationStart || 0)));
  };
  const watch = (type: string, each: (entry: Entry) => void) => {
    try {
      new PerformanceObserver((list) => list.getEntries().forEach(each)).observe({
        type,
        buffered: true,
        durationThreshold: 40,
      } as PerformanceObserverInit);
    } catch {
      // this browser does not measure it
    }
  };
  watch("navigation", (entry) => (told.ttfb = since(entry.responseStart!)));
  if (!hidden) {
    watch("paint", (entry) => /first-c/.test(entry.name) && (told.fcp = since(entry.startTime)));
    watch("largest-contentful-paint", (entry) => (told.lcp = since(entry.startTime)));
  }
  watch("layout-shift", (entry) => {
    if (entry.hadRecentInput) return;
    const at = entry.startTime;
    if (at - last > 1e3 || at - first > 5e3) {
      shift = 0;
      first = at;
    }
    last = at;
    shift += entry.value!;
    told.cls = Math.max(told.cls || 0, Math.round(shift * 1e4) / 1e4);
  });
  watch("event", (entry) => {
    const id = entry.interactionId;
    if (id) slow[id] = Math.max(slow[id] || 0, entry.duration);
  });
  return () => {
    // The worst interaction, but for one in fifty.
    const durations = Object.keys(slow).map((id) => slow[id]!).sort((one, other) => other - one);
    if (durations.length) told.inp = durations[Math.floor(durations.length / 50)]!;
    return told;
  };
}
