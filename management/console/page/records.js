// Records: the latest that were accepted, as they come. The lines stay where they are and only their texts change, so
// that nothing moves under a reader's eyes or hands, and a thousand records a second cost no more than ten.
import { ask, clock, count, el, fields, say } from "./dom.js";

const LINES = 100;
const PAIRS = 3;
const TYPED_MS = 300;

export class Records {
  /** `want(words)` asks for other records, `redraw()` for a frame. */
  constructor(section, want, redraw) {
    this.want = want;
    this.redraw = redraw;
    this.rows = [];
    this.held = null;
    this.more = 0;
    this.words = el("input", { type: "search", id: "words", placeholder: "Words to look for", autocomplete: "off", spellcheck: "false" });
    this.pause = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.hold(!this.pressed) }, "Pause");
    this.told = el("p", { class: "muted told" }, "\u00a0");
    this.lines = Array.from({ length: LINES }, (_, place) => this.line(place));
    this.body = el("tbody", {}, this.lines.map((line) => line.node));
    this.empty = el("p", { class: "empty" });
    this.detail = new Detail(() => this.lines[this.place ?? 0].button.focus());
    this.list = el("div", { class: "scroll list", role: "region", "aria-label": "Latest records" },
      el("table", { class: "stream" },
        el("caption", { class: "unseen" }, "The latest records; arrow keys move, Enter shows one whole"),
        el("thead", {}, el("tr", {},
          el("th", { scope: "col", class: "at" }, "Time, UTC"),
          el("th", { scope: "col", class: "site" }, "Site"),
          el("th", { scope: "col", class: "event" }, "Event"),
          el("th", { scope: "col" }, "Record"))),
        this.body),
      this.empty);
    section.append(
      el("div", { class: "tools" }, el("label", { for: "words", class: "unseen" }, "Search the records"), this.words, this.pause, this.told),
      el("div", { class: "beside" }, this.list, this.detail.node));
    this.words.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.begin(), TYPED_MS);
    });
    this.body.addEventListener("pointerenter", () => this.over(true));
    this.body.addEventListener("pointerleave", () => this.over(false));
    this.body.addEventListener("focusin", () => this.over(true));
    this.body.addEventListener("focusout", () => this.over(false));
    this.body.addEventListener("keydown", (event) => this.key(event));
  }

  line(place) {
    const button = el("button", { type: "button", class: "name", tabindex: place ? "-1" : "0", onclick: () => this.show(place) });
    const site = el("td", { class: "site" });
    const event = el("td", { class: "event" });
    const pairs = Array.from({ length: PAIRS }, () => [el("span", { class: "key" }), el("bdi")]);
    const node = el("tr", { hidden: true, onclick: (one) => one.target.closest("button") || this.show(place) },
      el("td", { class: "at" }, button), site, event, el("td", { class: "says" },
        el("div", { class: "pairs" }, pairs.map((pair) => el("p", {}, pair)))));
    return { node, button, site, event, pairs };
  }

  /** Begin anew: the records of another site, or with other words. */
  begin() {
    this.rows = [];
    this.held = null;
    this.more = 0;
    this.changed = true;
    this.want(this.words.value.trim());
  }

  /** Take what has come: the newest first, and how many more there were than are told. */
  hear({ rows, more }) {
    if (this.isHeld) {
      this.held += rows.length + more;
      return;
    }
    this.rows = [...rows, ...this.rows].slice(0, LINES);
    this.more = more;
    this.changed = true;
  }

  get isHeld() {
    return this.held !== null;
  }

  hold(is) {
    this.pressed = is;
    this.pause.setAttribute("aria-pressed", String(is));
    say(this.pause, is ? "Go on" : "Pause");
    this.over(this.inside);
  }

  over(is) {
    this.inside = is;
    const held = is || this.pressed;
    if (held && !this.isHeld) this.held = 0;
    if (!held) this.held = null;
    this.redraw();
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -LINES, End: LINES, PageDown: 15, PageUp: -15 }[event.key];
    const place = this.lines.findIndex((line) => line.button === document.activeElement);
    if (!step || place < 0) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(this.rows.length - 1, place + step));
    for (const line of this.lines) line.button.tabIndex = -1;
    this.lines[next].button.tabIndex = 0;
    this.lines[next].button.focus();
  }

  async show(place) {
    const row = this.rows[place];
    if (!row) return;
    this.place = place;
    this.chosen = row.number;
    this.changed = true;
    this.redraw();
    if (row.eid) await this.detail.show(`${row.site} ${row.event}`, row.eid, `/records/${row.eid}?${new URLSearchParams({ site: row.site, at: row.at })}`);
  }

  draw() {
    const newer = this.isHeld && this.held ? `${count(this.held)} newer` : "";
    const beyond = this.more ? `${count(this.more)} more came than can be read` : "";
    say(this.told, this.isHeld ? `Held while you read${newer && `: ${newer}`}` : beyond || "\u00a0");
    if (!this.changed) return;
    this.changed = false;
    for (const [place, line] of this.lines.entries()) this.fill(line, this.rows[place]);
    const nothing = this.words.value.trim()
      ? "No record of late has these words in it. It is shown here when one comes."
      : "No record was accepted since the console began to listen. Send a test beacon under Snippets, and it comes up here.";
    say(this.empty, this.rows.length ? "" : nothing);
  }

  fill(line, row) {
    if (line.node.hidden === Boolean(row)) line.node.hidden = !row;
    if (!row) return;
    line.node.classList.toggle("chosen", row.number === this.chosen);
    say(line.button, clock(row.at));
    say(line.site, row.site);
    say(line.event, row.event);
    for (const [place, [name, value]] of line.pairs.entries()) {
      say(name, row.says[place]?.[0] ?? "");
      say(value, row.says[place]?.[1] ?? "");
    }
  }
}

/** What stands beside a list: one of its lines whole. */
export class Detail {
  constructor(closed, hint = "Choose a record to see it whole: a click, or arrow keys and Enter.") {
    this.closed = closed;
    this.hint = el("p", { class: "empty" }, hint);
    this.title = el("h2", {}, "");
    this.from = el("p", { class: "muted" });
    this.body = el("div");
    this.close = el("button", { type: "button", class: "quiet", onclick: () => this.hide() }, "Close");
    this.full = el("div", { class: "full", hidden: true }, el("div", { class: "head" }, this.title, this.close), this.from, this.body);
    this.node = el("aside", { class: "detail", "aria-label": "The chosen record", tabindex: "-1" }, this.hint, this.full);
    this.node.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
  }

  async show(title, id, path, draw = (told) => [fields(told.fields)]) {
    this.id = id;
    this.hint.hidden = true;
    this.full.hidden = false;
    this.node.classList.add("open");
    say(this.title, title);
    say(this.from, id);
    this.body.replaceChildren(el("p", { class: "muted" }, "…"));
    try {
      const told = await ask(path);
      if (this.id !== id) return;
      this.body.replaceChildren(...draw(told));
    } catch (error) {
      if (this.id === id) this.body.replaceChildren(el("p", { class: "trouble" }, error.message));
    }
    if (this.id === id && matchMedia("(max-width: 999px)").matches) this.close.focus();
  }

  hide() {
    this.id = null;
    this.hint.hidden = false;
    this.full.hidden = true;
    this.node.classList.remove("open");
    this.closed();
  }
}
