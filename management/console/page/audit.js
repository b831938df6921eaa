// Audit: is every accepted beacon one row? Asked for by a button, for BigQuery takes money for it.
import { ask, clock, count, el, post, say } from "./dom.js";

// On a narrow page those of WIDE are left out: what is wrong stands in the others.
const WIDE = ["failed", "repeated", "waiting"];
const COLUMNS = ["accepted", "landed", "failed", "repeated", "waiting", "missing", "doubled"];
const LOOK_MS = 700;
const MOST_MINUTES = 50;

export class Audit {
  constructor(section) {
    this.days = el("select", { id: "days" }, [["1", "The last day with records"], ["7", "The last 7 days"], ["", "All days"]]
      .map(([value, text]) => el("option", { value }, text)));
    this.button = el("button", { type: "button", class: "first", onclick: () => this.begin() }, "Audit now");
    this.told = el("p", { class: "muted told", role: "status" }, "\u00a0");
    this.answer = el("div");
    section.append(
      el("div", { class: "tools" }, el("label", { for: "days" }, "Of"), this.days, this.button, this.told),
      this.answer);
  }

  async open() {
    try {
      this.draw(await ask("/audit"));
    } catch (error) {
      this.answer.replaceChildren(el("p", { class: "trouble" }, error.message));
    }
  }

  async begin() {
    this.button.disabled = true;
    try {
      this.draw(await post(`/audit${this.days.value && `?days=${this.days.value}`}`));
    } catch (error) {
      this.answer.replaceChildren(el("p", { class: "trouble" }, error.message));
      this.button.disabled = false;
    }
  }

  draw({ running, answer }) {
    this.button.disabled = running;
    say(this.told, running ? "Comparing what Redis has counted with what BigQuery holds …" : "\u00a0");
    clearTimeout(this.timer);
    if (running) this.timer = setTimeout(() => this.open(), LOOK_MS);
    if (!answer) {
      this.answer.replaceChildren(el("p", { class: "empty" },
        running ? "" : "Nobody has asked yet. An audit proves, minute by minute, that every accepted beacon is one row: "
        + "by count, and by a digest of the ids. table_manager does the same every hour, for its metrics."));
      return;
    }
    this.answer.replaceChildren(...(answer.error ? [el("p", { class: "trouble" }, answer.error)] : this.told_of(answer)));
  }

  told_of(answer) {
    const good = answer.is_right;
    const when = `${clock(answer.at, false)} UTC, in ${answer.seconds} s, ${answer.days ? `last ${answer.days === 1 ? "day" : `${answer.days} days`}` : "all days"}`;
    return [
      el("div", { class: good ? "verdict" : "verdict bad" },
        el("p", { class: "value" }, `The audit ${answer.outcome === "not proven" ? "proves nothing yet" : answer.outcome}.`),
        el("p", { class: "muted" }, when)),
      answer.remarks.length ? el("ul", { class: "remarks" }, answer.remarks.map((remark) => el("li", {}, remark))) : null,
      el("div", { class: "scroll", role: "region", "aria-label": "The audit, a line a site", tabindex: "0" },
        el("table", {}, el("caption", { class: "unseen" }, "The audit by site"),
          el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Site"), COLUMNS.map((name) => el("th", { scope: "col", class: is(name) }, name)))),
          el("tbody", {}, Object.entries(answer.sites).map(([name, site]) => line(name, site))),
          el("tfoot", {}, line("all sites", answer.total)))),
      minutes(answer.sites),
    ].filter(Boolean);
  }
}

function line(name, site) {
  const bad = (column) => (column === "missing" || column === "doubled") && site[column] !== 0;
  return el("tr", {}, el("th", { scope: "row" }, name),
    COLUMNS.map((column) => el("td", { class: `${is(column)} ${bad(column) ? "bad" : site[column] ? "" : "none"}` }, count(site[column]))));
}

function is(column) {
  return WIDE.includes(column) ? "number wide" : "number";
}

/** Return the minutes that differ, if any do. */
function minutes(sites) {
  const differing = Object.entries(sites).flatMap(([name, site]) => site.differs.map((one) => [name, one]));
  if (!differing.length) return null;
  const rows = differing.slice(0, MOST_MINUTES).map(([name, one]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, one.bucket),
      el("td", { class: "number" }, count(one.missing)), el("td", { class: "number" }, count(one.doubled))));
  return el("div", { class: "scroll", role: "region", "aria-label": "What differs", tabindex: "0" },
    el("table", {}, el("caption", {}, `What differs${differing.length > MOST_MINUTES ? `: the first ${MOST_MINUTES} of ${count(differing.length)}` : ""}`),
      el("thead", {}, el("tr", {}, ["Site", "Day or minute, UTC"].map((name) => el("th", { scope: "col" }, name)),
        ["Missing", "Doubled"].map((name) => el("th", { scope: "col", class: "number" }, name)))),
      el("tbody", {}, rows)));
}
