// The stream of the console: opened for the records that are wanted, closed while nobody looks, opened again by itself.
import { ask } from "./dom.js";

const AGAIN_MS = 3000;
const POINTS = 300;
const SERIES = { rate: "rate", oldest: "oldest", queue: null, failing: "failing" };

export class Live {
  /** `heard(name, told)` gets each event, `linked(state)` what becomes of the connection: live, connecting, away. */
  constructor(heard, linked) {
    this.heard = heard;
    this.linked = linked;
    this.wanted = { site: "", words: "" };
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
  }

  /** Ask for the records of a site with these words in them. */
  want(site, words) {
    if (this.source && site === this.wanted.site && words === this.wanted.words) return;
    this.wanted = { site, words };
    this.open();
  }

  open() {
    this.close();
    this.linked("connecting");
    const source = new EventSource(`/live?${new URLSearchParams(this.wanted)}`);
    this.source = source;
    for (const name of ["hello", "now", "records"]) {
      source.addEventListener(name, (event) => {
        if (source !== this.source) return;
        this.linked("live");
        this.heard(name, JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      if (source !== this.source) return;
      this.linked("away");
      if (source.readyState === EventSource.CLOSED) this.again(source); // else the browser tries by itself
    };
  }

  /** Ask why there is no stream (without the cookie this leads to the login), and open it a little later. */
  again(source) {
    ask("/audit").catch(() => {});
    this.timer = setTimeout(() => source === this.source && this.open(), AGAIN_MS);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}

/** What each site did in the last minutes: times, and a series for each chart. */
export class History {
  constructor() {
    this.times = [];
    this.sites = new Map();
  }

  begin(told) {
    this.times = told.times;
    this.sites = new Map(Object.entries(told.sites));
  }

  /** Add a point for each site; one that is not known is null. */
  add(moment) {
    if (moment.at <= (this.times.at(-1) ?? 0)) return;
    this.times.push(moment.at);
    for (const name of Object.keys(moment.sites)) this.of(name);
    for (const [name, series] of this.sites) {
      const now = moment.sites[name];
      for (const [key, member] of Object.entries(SERIES)) {
        series[key].push(!now ? null : member ? now[member] : now.queue + now.claimed);
      }
    }
    if (this.times.length > POINTS) {
      this.times.shift();
      for (const series of this.sites.values()) for (const key of Object.keys(SERIES)) series[key].shift();
    }
  }

  /** Return a site's series; of one that is new nothing is known before. */
  of(name) {
    if (!this.sites.has(name)) {
      const blank = () => new Array(Math.max(0, this.times.length - 1)).fill(null);
      this.sites.set(name, Object.fromEntries(Object.keys(SERIES).map((key) => [key, blank()])));
    }
    return this.sites.get(name);
  }

  /** Return one series of a site; of all of them (no name) the sum, or what has waited longest. */
  series(name, key) {
    if (name) return this.sites.get(name)?.[key] ?? [];
    const every = [...this.sites.values()].map((series) => series[key]);
    return this.times.map((_, place) => {
      let whole = null;
      for (const series of every) {
        const value = series[place];
        if (value != null) whole = whole == null ? value : key === "oldest" ? Math.max(whole, value) : whole + value;
      }
      return whole;
    });
  }
}
