// Elements, and numbers as people read them. Text goes in as text nodes alone: nothing that a record says becomes markup.

export const $ = (id) => document.getElementById(id);

/** Return an element; `is` are its attributes (`on` + event: a listener), `within` texts and elements. */
export function el(tag, is = {}, ...within) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(is)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...within.flat().filter((one) => one != null && one !== ""));
  return made;
}

/** Set a text, if it is another than before: what stays the same costs no layout. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const count = (number) => whole.format(number);
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
export const rate = (number) => (number > 0 && number < 9.95 ? tenth : whole).format(number);

/** Return `4.6 s` up to two minutes, beyond that whole minutes, hours, days; as `oceanus status` says it. */
export function age(seconds) {
  if (seconds == null) return "–";
  if (seconds <= 120) return `${tenth.format(seconds)} s`;
  for (const [size, unit] of [[86400, "d"], [3600, "h"]]) {
    if (seconds >= 2 * size) return `${whole.format(Math.floor(seconds / size))} ${unit}`;
  }
  return `${Math.floor(seconds / 60)} min`;
}

/** Return seconds since 1970 as UTC: `10:07:21.345`, or with the day where it is not today. */
export function clock(at, millis = true) {
  if (at == null) return "–";
  const text = new Date(at * 1000).toISOString();
  const time = text.slice(11, millis ? 23 : 19);
  return text.slice(0, 10) === new Date().toISOString().slice(0, 10) ? time : `${text.slice(0, 10)} ${time}`;
}

/** Return words as a sentence. */
export function sentence(words) {
  const text = String(words ?? "");
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.?!…]$/.test(text) ? "" : "."}`;
}

/** Ask the console; throws an Error with a sentence that says what to do. */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The console does not answer: is it running? This page tries again by itself.");
  }
  if (answer.status === 401) location.assign("/login");
  const told = await answer.json().catch(() => ({ error: `The console answered ${answer.status}: load this page again.` }));
  if (!answer.ok) throw new Error(sentence(told.error));
  return told;
}

export const post = (path) => ask(path, { method: "POST" });

/** Say something to those who hear the page; seldom, so that they can follow. */
export function aloud(text) {
  say($("said"), text);
}

/** Return the fields of a record as a list of terms; a value that is an object is shown as JSON. */
export function fields(told) {
  const list = el("dl", { class: "fields" });
  for (const [name, value] of Object.entries(told)) {
    const text = value === null ? "" : typeof value === "object" ? JSON.stringify(value, null, 2) : String(value);
    list.append(el("dt", {}, name), el("dd", {}, text === "" ? el("span", { class: "muted" }, "–") : text));
  }
  return list;
}
