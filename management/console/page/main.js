// The page: which view is open, for which site, and how it hears of what happens. The address says both, so that a view
// can be kept or sent: #/records?site=shop
import { $, aloud, ask, clock, el, say } from "./dom.js";
import { History, Live } from "./live.js";
import { Audit } from "./audit.js";
import { Failed } from "./failed.js";
import { Records } from "./records.js";
import { Sites, standing } from "./sites.js";
import { Snippets } from "./snippets.js";

const TITLES = { sites: "Sites", records: "Records", failed: "Failed", audit: "Audit", snippets: "Snippets" };
const LINKS = { live: "live", connecting: "connecting", away: "no answer, trying again" };
const state = { view: "", site: "", moment: null, names: [], link: "", tone: "" };
const history = new History();

const sites = new Sites($("sites"), (name) => go(state.view, state.site === name ? "" : name));
const records = new Records($("records"), (words) => live.want(state.site, words), () => later());
const failed = new Failed($("failed"));
const audit = new Audit($("audit"));
const snippets = new Snippets($("snippets"));
const live = new Live(hear, linked);

function go(view, site) {
  location.hash = `#/${view}${site ? `?${new URLSearchParams({ site })}` : ""}`;
}

/** Open what the address names. */
function route() {
  if (state.view && !location.hash.startsWith("#/")) return;
  const [path, query] = location.hash.slice(2).split("?");
  const view = path in TITLES ? path : "sites";
  const site = new URLSearchParams(query).get("site") ?? "";
  const moved = view !== state.view, other = site !== state.site;
  Object.assign(state, { view, site });
  for (const link of document.querySelectorAll("nav a")) {
    const its = link.hash.slice(2).split("?")[0];
    if (its === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    link.hash = `#/${its}${site ? `?${new URLSearchParams({ site })}` : ""}`;
  }
  document.title = `${TITLES[view]} · oceanus`;
  say($("title"), TITLES[view]);
  $("site").value = site;
  $("pick").classList.toggle("none", view === "audit");
  if (other || !live.source) records.begin();
  show(moved || other);
}

/** Show the open view, once there is something to show. */
function show(isNew) {
  if (!state.moment) return;
  for (const name of Object.keys(TITLES)) $(name).hidden = name !== state.view;
  $("foot").hidden = false;
  if (isNew) {
    if (state.view === "failed") failed.open(state.site);
    if (state.view === "audit") audit.open();
    if (state.view === "snippets") openSnippets();
  }
  later();
}

function openSnippets() {
  const site = state.site || state.names[0];
  if (!state.site && site) return go("snippets", site);
  return site && snippets.open(site);
}

function hear(name, told) {
  if (name === "hello") begin(told);
  else if (name === "records") records.hear(told);
  else {
    const isFirst = !state.moment;
    state.moment = told;
    history.add(told);
    for (const site of Object.keys(told.sites)) option(site);
    if (isFirst) show(true);
  }
  later();
}

function begin(told) {
  history.begin(told.history);
  const names = told.sites.map((site) => site.name);
  if (names.join("\n") !== state.names.join("\n")) {
    state.names = names;
    $("site").replaceChildren(el("option", { value: "" }, "All sites"));
    names.forEach(option);
    sites.begin(told.sites);
  }
  $("site").value = state.site;
  say($("target"), `${told.is_local ? "Local BigQuery" : "BigQuery"}: project ${told.project}, dataset ${told.dataset}`);
  $("logout").hidden = !told.asks;
}

function option(name) {
  const select = $("site");
  if ([...select.options].some((one) => one.value === name)) return;
  select.append(el("option", { value: name }, name));
  select.value = state.site;
}

function linked(how) {
  if (state.link === how) return;
  if (state.link && how === "away") aloud("The console does not answer. This page tries again by itself.");
  if (state.link === "away" && how === "live") aloud("The console answers again.");
  state.link = how;
  $("link").dataset.state = how;
  say($("link-text"), LINKS[how]);
  $("view").dataset.link = how;
  later();
}

let drawing = false;

/** Draw in the next frame, however much comes until then. */
function later() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (state.moment) draw();
  });
}

function draw() {
  const [tone, sentence] = state.link === "away"
    ? ["bad", `The console does not answer; this is how things stood at ${clock(state.moment.at, false)} UTC.`]
    : standing(state.moment, state.view === "audit" ? "" : state.site);
  say($("state"), sentence);
  $("state").className = `state ${tone}`;
  if (state.tone && tone !== state.tone) aloud(sentence);
  state.tone = tone;
  if (state.view === "sites") sites.draw(state.moment, history, state.site);
  if (state.view === "records") records.draw();
}

$("site").addEventListener("change", () => go(state.view, $("site").value));
$("logout").addEventListener("submit", async (event) => {
  event.preventDefault();
  await ask("/logout", { method: "POST" }).catch(() => {});
  location.assign("/login");
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("view").focus();
});
addEventListener("hashchange", route);
route();
