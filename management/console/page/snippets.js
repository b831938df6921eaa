// Snippets: what goes into a site's pages, and a test beacon that is watched from arms to its row.
import { ask, el, fields, post, say } from "./dom.js";

const NAMES = { tag: "Script tag", noscript: "Without script", gtm: "Tag Manager", wordpress: "WordPress" };
const LOOK_MS = 500;
const PATIENCE_MS = 60_000;

export class Snippets {
  constructor(section) {
    this.kind = "tag";
    this.tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Kinds of snippet" });
    this.url = el("input", { id: "url", type: "url", placeholder: "https://log.shop.example", autocomplete: "off", onchange: () => this.load() });
    this.page = el("input", { id: "page", type: "url", placeholder: "https://www.shop.example/", autocomplete: "off", onchange: () => this.load() });
    this.code = el("code");
    this.copied = el("span", { class: "muted", role: "status" });
    this.copy = el("button", { type: "button", onclick: () => this.copyText() }, "Copy");
    this.trouble = el("p", { class: "empty" });
    this.panel = el("div", { class: "panel", role: "tabpanel", id: "snippet", tabindex: "0", "aria-label": "The snippet" },
      el("pre", {}, this.code), this.trouble);
    this.ofPage = [el("label", { for: "page" }, "Page that the image is on"), this.page];
    this.test = el("button", { type: "button", class: "first", onclick: () => this.send() }, "Send a test beacon");
    this.steps = el("ol", { class: "steps" });
    this.report = el("div", { "aria-live": "polite" });
    section.append(
      el("div", { class: "two" },
        el("div", {},
          el("h2", {}, "For its pages"),
          el("div", { class: "tools" },
            el("label", { for: "url" }, "Collector, as browsers see it"), this.url, this.ofPage),
          this.tabs, this.panel,
          el("p", { class: "act" }, this.copy, this.copied)),
        el("div", {},
          el("h2", {}, "Does it arrive?"),
          el("p", { class: "muted" }, "A test beacon goes through arms as a browser sends one, and is watched until it is a row. "
            + "It is a row like any other, and carries its mark: where a site has such fields, evt is “test” and the page is at console.invalid."),
          el("p", { class: "act" }, this.test),
          this.steps, this.report)));
    this.draw([]);
    this.stand();
  }

  open(site) {
    if (this.site === site) return;
    this.site = site;
    clearTimeout(this.timer);
    this.report.replaceChildren();
    this.stand();
    this.load();
  }

  async load() {
    const { site } = this;
    try {
      const told = await ask(`/sites/${encodeURIComponent(site)}/snippets?${new URLSearchParams({ url: this.url.value.trim(), page: this.page.value.trim() })}`);
      if (site !== this.site) return;
      if (!this.url.value) this.url.value = told.url;
      this.draw(told.kinds);
    } catch (error) {
      this.draw([]);
      say(this.trouble, error.message);
    }
  }

  draw(kinds) {
    this.kinds = kinds;
    this.tabs.replaceChildren(...Object.entries(NAMES).map(([kind, name]) =>
      el("button", {
        type: "button", role: "tab", id: `tab-${kind}`, "aria-selected": String(kind === this.kind), "aria-controls": "snippet",
        tabindex: kind === this.kind ? "0" : "-1", onclick: () => this.choose(kind), onkeydown: (event) => this.key(event, kind),
      }, name)));
    const chosen = kinds.find((one) => one.kind === this.kind);
    say(this.code, chosen?.text ?? "");
    say(this.trouble, chosen?.error ?? "");
    this.copy.disabled = !chosen?.text;
    for (const node of this.ofPage) node.hidden = this.kind !== "noscript";
    say(this.copied, "");
  }

  choose(kind) {
    this.kind = kind;
    this.draw(this.kinds);
  }

  key(event, kind) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const kinds = Object.keys(NAMES);
    this.choose(kinds[(kinds.indexOf(kind) + step + kinds.length) % kinds.length]);
    document.getElementById(`tab-${this.kind}`).focus();
  }

  async copyText() {
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      say(this.copied, "Copied.");
    } catch {
      getSelection().selectAllChildren(this.code);
      say(this.copied, "Chosen: press Ctrl-C.");
    }
  }

  /** Show the way of a beacon, as far as it has come: [state, what, when] for each step. */
  stand(steps = [["", "Sent to arms"], ["", "Accepted: on Redis’ disk"], ["", "Waits in the queue"], ["", "A row"]]) {
    this.steps.replaceChildren(...steps.map(([state, what, when]) =>
      el("li", { class: state || null }, el("span", {}, what), el("span", { class: "muted" }, when ?? ""))));
  }

  async send() {
    const { site } = this;
    this.test.disabled = true;
    clearTimeout(this.timer);
    this.report.replaceChildren();
    this.stand([["now", "Sent to arms"], ["", "Accepted: on Redis’ disk"], ["", "Waits in the queue"], ["", "A row"]]);
    try {
      const sent = await post(`/sites/${encodeURIComponent(site)}/test`);
      if (site !== this.site) return;
      const good = sent.status === 200 && !sent.error;
      const said = [el("p", { class: "muted" }, `${sent.request}, event ${sent.eid}`), fields(sent.parameters)];
      if (!good) {
        this.stand([["done", "Sent to arms", `${sent.ms} ms`], ["bad", "Not accepted", `answered ${sent.status}`], ["", "Waits in the queue"], ["", "A row"]]);
        this.report.replaceChildren(el("p", { class: "trouble" }, `arms says: ${sent.error || sent.status}. The fields below were sent; what the site asks for is in sites.yaml.`), ...said);
        return;
      }
      this.report.replaceChildren(...said);
      this.watch(site, sent, performance.now());
    } catch (error) {
      this.stand();
      this.report.replaceChildren(el("p", { class: "trouble" }, error.message));
    } finally {
      this.test.disabled = false;
    }
  }

  /** Ask where it is until it is a row; it may pass through the queue between two looks. */
  async watch(site, sent, began) {
    const path = `/sites/${encodeURIComponent(site)}/test/${sent.eid}?at=${sent.at_us / 1e6}`;
    let told = { place: "waits" }, trouble = "";
    try {
      told = await ask(path);
    } catch (error) {
      trouble = error.message;
    }
    if (site !== this.site) return;
    const passed = performance.now() - began;
    const after = `${((passed + sent.ms) / 1000).toFixed(1)} s`;
    const first = [["done", "Sent to arms", `${sent.ms} ms`], ["done", "Accepted: on Redis’ disk", `answered ${sent.status}`]];
    if (told.place === "row") {
      this.stand([...first, ["done", "Left the queue"], ["done", `A row of ${told.table}`, `after ${after}`]]);
      return;
    }
    const late = passed > PATIENCE_MS;
    const waits = told.place === "waits";
    this.stand([...first, [waits ? (late ? "bad" : "now") : "done", waits ? "Waits in the queue" : "Left the queue", waits ? after : ""],
      [waits ? "" : late ? "bad" : "now", late ? "Not a row yet" : "A row", waits ? "" : after]]);
    if (late || trouble) this.report.prepend(el("p", { class: "trouble" }, trouble || "It is taking long: look under Failed, at r2bq’s log, and whether arms keeps it in its journal."));
    if (!late) this.timer = setTimeout(() => this.watch(site, sent, began), LOOK_MS);
  }
}
