// Sites: four figures with their last five minutes, of one site or all, and below them a line for each site.
import { age, count, counted, el, rate, say, sentence } from "./dom.js";
import { Chart } from "./chart.js";

const FIGURES = [
  { key: "rate", label: "Beacons a second", least: 1, text: (now) => rate(now.rate), top: rate },
  { key: "oldest", label: "Freshness", least: 2, text: (now) => waited(now.oldest), top: waited },
  { key: "queue", label: "Queue", least: 10, text: (now) => count(now.queue + now.claimed), top: count },
  { key: "failing", label: "Failed", least: 1, text: (now) => count(now.failed), top: (number) => `${rate(number)} a second` },
];
const BELOW = {
  rate: (now) => `${count(now.accepted)} accepted today`,
  oldest: (now) => (now.queue + now.claimed ? "the oldest that waits" : "nothing waits"),
  queue: (now) => (now.claimed ? `${count(now.claimed)} being written` : "none being written"),
  failing: (now) => (now.failing ? `${rate(now.failing)} a second now` : "today, rejected or refused"),
};

const IS_NONE = {
  rate: (now) => !now.rate, oldest: (now) => !now.oldest, queue: (now) => !(now.queue + now.claimed), failing: (now) => !now.failed,
};

export class Sites {
  constructor(section, choose) {
    this.choose = choose;
    this.lines = new Map();
    this.figures = FIGURES.map((figure) => this.figure(figure));
    this.body = el("tbody");
    section.append(
      el("div", { class: "figures" }, this.figures.map((one) => one.node)),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Sites, a line each" },
        el("table", { class: "sites" },
          el("caption", { class: "unseen" }, "Each site: now, and the last five minutes"),
          el("thead", {}, el("tr", {},
            el("th", { scope: "col" }, "Site"),
            el("th", { scope: "col" }, "Beacons/s"),
            el("th", { scope: "col" }, "Freshness"),
            el("th", { scope: "col" }, "Queue"),
            el("th", { scope: "col" }, "Failed today"),
            el("th", { scope: "col", class: "number wide" }, "Landed today"),
            el("th", { scope: "col", class: "number wide" }, "Last beacon"))),
          this.body)),
      el("p", { class: "muted key" },
        "Freshness: how long the oldest record has waited to become a row. Queue: records in Redis, with those being written. "
        + "Lines: the last five minutes; days are UTC."));
  }

  figure({ key, label, least, text, top }) {
    const chart = new Chart(300, 64, least);
    const value = el("p", { class: "value" }, "–");
    const below = el("p", { class: "below" }, "\u00a0");
    const scale = el("p", { class: "scale" }, "\u00a0");
    const node = el("div", { class: "figure" }, el("h2", {}, label), value, below, el("div", { class: "plot" }, scale, chart.node));
    return { key, node, chart, value, below, scale, text, top };
  }

  /** Have a line for each site; `declared` are those of sites.yaml, in its order. */
  begin(declared) {
    this.methods = new Map(declared.map((site) => [site.name, site.method]));
    this.body.replaceChildren();
    this.lines.clear();
    for (const site of declared) this.line(site.name);
  }

  line(name) {
    if (this.lines.has(name)) return this.lines.get(name);
    const cells = {}, charts = {};
    const node = el("tr", {}, el("th", { scope: "row" },
      el("button", { class: "name", type: "button", onclick: () => this.choose(name) }, name),
      el("span", { class: "muted" }, this.methods.get(name) ?? "not in sites.yaml")));
    for (const { key, least } of FIGURES) {
      charts[key] = new Chart(120, 22, least);
      cells[key] = el("span", { class: "now" }, "–");
      node.append(el("td", { class: `with-${key}` }, el("div", { class: "spark" }, cells[key], charts[key].node)));
    }
    cells.landed = el("td", { class: "number wide" }, "–");
    cells.last = el("span");
    cells.begin = el("a", { href: `#/snippets?${new URLSearchParams({ site: name })}` }, "none yet: snippet");
    node.append(cells.landed, el("td", { class: "number wide" }, cells.last, cells.begin));
    this.body.append(node);
    this.lines.set(name, { node, cells, charts });
    return this.lines.get(name);
  }

  /** Draw what is known now. */
  draw(moment, history, chosen) {
    const now = chosen ? moment.sites[chosen] : whole(Object.values(moment.sites));
    for (const { key, chart, value, below, scale, text, top } of this.figures) {
      const highest = chart.draw(history.times, history.series(chosen, key), moment.at);
      say(value, now ? text(now) : "–");
      say(below, now ? BELOW[key](now) : "not known");
      say(scale, `max ${top(highest)}`);
      value.classList.toggle("bad", key === "failing" && Boolean(now?.failing));
    }
    for (const name of Object.keys(moment.sites)) this.line(name);
    for (const [name, { node, cells, charts }] of this.lines) {
      const own = moment.sites[name];
      node.classList.toggle("chosen", name === chosen);
      for (const { key, text } of FIGURES) {
        say(cells[key], own ? text(own) : "–");
        cells[key].classList.toggle("none", !own || IS_NONE[key](own));
        charts[key].draw(history.times, history.series(name, key), moment.at);
      }
      cells.failing.classList.toggle("bad", Boolean(own?.failing));
      say(cells.landed, own ? count(own.landed) : "–");
      cells.landed.classList.toggle("none", !own?.landed);
      const began = own?.last != null;
      cells.begin.hidden = began || !own;
      say(cells.last, began ? `${age(own.last)} ago` : "");
    }
  }
}

function waited(seconds) {
  return seconds ? age(seconds) : "0 s";
}

/** Return all sites as one. */
function whole(every) {
  if (!every.length) return null;
  const added = (key) => every.reduce((sum, one) => sum + one[key], 0);
  return {
    rate: added("rate"), failing: added("failing"), queue: added("queue"), claimed: added("claimed"),
    accepted: added("accepted"), landed: added("landed"), failed: added("failed"),
    oldest: Math.max(...every.map((one) => one.oldest)),
    last: every.reduce((least, one) => (one.last == null ? least : Math.min(least ?? Infinity, one.last)), null),
  };
}

/** Return in a sentence how things stand, and whether it is calm, busy or bad. */
export function standing(moment, chosen) {
  if (moment.trouble) return ["bad", `${sentence(moment.trouble)} What is shown is older.`];
  const now = chosen ? moment.sites[chosen] : whole(Object.values(moment.sites));
  if (!now) return ["bad", chosen ? `nothing is known of ${chosen}` : "no site is known"];
  const journalled = moment.arms.journalled;
  const more = journalled ? ` ${counted(journalled, "beacon")} in arms’ journal, until Redis takes them.` : "";
  if (now.queue + now.claimed) {
    return [now.oldest > 60 ? "bad" : "busy", `${counted(now.queue + now.claimed, "record")} on the way, the oldest for ${age(now.oldest)}.${more}`];
  }
  if (now.last == null) return ["calm", `No beacon yet: put a snippet into a page, or send a test beacon.${more}`];
  return ["calm", `Nothing waits. The last beacon came ${age(now.last)} ago.${more}`];
}
