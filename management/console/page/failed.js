// Failed: why beacons were rejected or refused, the newest of them, and sending one again, once.
import { ask, clock, count, el, fields, post, say } from "./dom.js";
import { Detail } from "./records.js";

export class Failed {
  constructor(section) {
    this.site = "";
    this.reason = "";
    this.since = el("select", { id: "since", onchange: () => this.load() },
      [["1h", "The last hour"], ["24h", "The last 24 hours"], ["7d", "The last 7 days"], ["", "All that is kept"]]
        .map(([value, text]) => el("option", { value, selected: value === "24h" }, text)));
    this.again = el("button", { type: "button", onclick: () => this.load() }, "Look again");
    this.told = el("p", { class: "muted told" }, "\u00a0");
    this.reasons = el("tbody");
    this.records = el("tbody");
    this.empty = el("p", { class: "empty" });
    this.detail = new Detail(() => this.opened?.focus(), "Choose a failed record to see it whole, and what a retry would do.");
    this.tables = el("div", { class: "list" },
      el("div", { class: "scroll", role: "region", "aria-label": "Reasons", tabindex: "0" },
        el("table", { class: "reasons" }, el("caption", {}, "By reason"),
          el("thead", {}, el("tr", {}, ...["Site", "Stage", "Reason"].map((name) => el("th", { scope: "col" }, name)),
            el("th", { scope: "col", class: "number" }, "Records"), el("th", { scope: "col", class: "wide" }, "Last, UTC"))),
          this.reasons)),
      el("div", { class: "scroll", role: "region", "aria-label": "Failed records", tabindex: "0" },
        el("table", { class: "failures" }, el("caption", {}, "The newest"),
          el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "at" }, "Time, UTC"), el("th", { scope: "col" }, "Site"),
            el("th", { scope: "col" }, "Reason"), el("th", { scope: "col" }, el("span", { class: "unseen" }, "Retry")))),
          this.records)));
    section.append(
      el("div", { class: "tools" }, el("label", { for: "since" }, "Failed in"), this.since, this.again, this.told),
      this.empty,
      el("div", { class: "beside" }, this.tables, this.detail.node));
  }

  open(site) {
    if (this.site !== site) this.reason = "";
    this.site = site;
    this.load();
  }

  async load() {
    const asked = {};
    this.asked = asked;
    say(this.told, "Asking BigQuery …");
    this.again.disabled = true;
    try {
      const told = await ask(`/failed?${new URLSearchParams({ site: this.site, reason: this.reason, since: this.since.value })}`);
      if (this.asked === asked) this.draw(told);
    } catch (error) {
      if (this.asked === asked) this.draw({ reasons: [], records: [], waiting: 0 }, error.message);
    }
    if (this.asked === asked) this.again.disabled = false;
  }

  draw(told, trouble = "") {
    const waiting = told.waiting ? `${count(told.waiting)} more on the way to the table` : "\u00a0";
    say(this.told, this.reason ? `Only: ${this.reason}` : waiting);
    this.reasons.replaceChildren(...told.reasons.map((one) => this.reasonLine(one)));
    this.records.replaceChildren(...told.records.map((one) => this.line(one)));
    this.tables.hidden = !told.reasons.length;
    this.empty.classList.toggle("trouble", Boolean(trouble));
    say(this.empty, trouble || (told.reasons.length ? "" : "Nothing failed in this time."));
  }

  reasonLine(one) {
    const is = this.reason === one.reason;
    const choose = () => {
      this.reason = is ? "" : one.reason;
      this.load();
    };
    return el("tr", { class: is ? "chosen" : null },
      el("td", {}, one.site), el("td", {}, one.stage),
      el("td", { class: "says" }, el("button", { type: "button", class: "name", "aria-pressed": String(is), onclick: choose }, el("bdi", {}, one.reason))),
      el("td", { class: "number" }, count(one.records)), el("td", { class: "wide at" }, clock(one.last, false)));
  }

  line(one) {
    const outcome = el("span", { class: "muted" }, one.sent_again ? "sent again" : "");
    const retry = el("button", { type: "button", hidden: one.sent_again, onclick: () => this.retry(one.fid, retry, outcome) }, "Retry",
      el("span", { class: "unseen" }, ` ${one.fid}`));
    const open = el("button", { type: "button", class: "name", onclick: () => this.show(one.fid, one.site, open) }, clock(one.at, false));
    return el("tr", {}, el("td", { class: "at" }, open), el("td", {}, one.site),
      el("td", { class: "says" }, el("bdi", {}, one.reason)), el("td", { class: "act" }, retry, outcome));
  }

  async show(fid, site, opened) {
    this.opened = opened;
    await this.detail.show(`${site}: failed record`, fid, `/failed/${fid}`, (told) => {
      const outcome = el("span", { class: "muted" }, told.can ? "Sent once, however often you press." : "");
      const retry = el("button", { type: "button", disabled: !told.can, onclick: () => this.retry(fid, retry, outcome) }, "Retry");
      const { retry: would, fid: _, ...record } = told.record;
      return [el("p", {}, `A retry: ${would}.`), el("p", { class: "act" }, retry, outcome), fields(record)];
    });
  }

  /** Send one again; whatever becomes of it is said beside its button. */
  async retry(fid, button, outcome) {
    button.disabled = true;
    say(outcome, "…");
    outcome.setAttribute("role", "status");
    try {
      const told = await post(`/failed/${fid}/retry`);
      say(outcome, told.sentence);
      button.hidden = told.outcome === "sent" || told.outcome === "before";
    } catch (error) {
      say(outcome, error.message);
    }
    button.disabled = false;
  }
}
