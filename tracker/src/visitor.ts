// The visitor: the session id and its cookie, what the visitor has said about being followed, and the way out.

const SID = "oceanus_sid";
const OFF = "oceanus_off";
const SECONDS = 34560000; // 400 days: the longest that browsers keep a cookie

let domain = "";
let cookieless = false;
let mine = "";

/** What the visitor has answered: "" is nobody has asked. */
export let answer = "";

/** Say where the cookie belongs, or that there is to be none. */
export function configure(cookieDomain: string | undefined, off: boolean): void {
  domain = cookieDomain || "";
  cookieless = off;
}

/** Take the visitor's answer. A no takes away what we have kept; a yes keeps the session id from now on. */
export function consent(given: string): void {
  answer = given;
  if (!keeps()) {
    write(SID, "");
    mine = "";
  }
}

/** Return what the browser says to every page: the visitor objects. */
export function objection(): { gpc: string; dnt: string } {
  const { globalPrivacyControl, doNotTrack } = navigator as Navigator & { globalPrivacyControl?: boolean };
  return { gpc: globalPrivacyControl ? "1" : "", dnt: doNotTrack == "1" ? "1" : "" };
}

/** Say whether anything may be kept in this browser. */
export function keeps(): boolean {
  return !(cookieless || answer == "denied" || Object.values(objection()).join(""));
}

/** Return the session id: the cookie's, else a new one, kept in the cookie if it may be. */
export function sid(): string {
  const kept = keeps();
  const found = kept && read(SID);
  if (found && /^[0-9a-f]{1,32}$/i.test(found)) return (mine = found);
  mine = mine || random(8);
  if (kept) write(SID, mine); // never over one that is there: arms may have set it for longer than we may
  return mine;
}

/** Say whether the visitor has left by a link to #oceanus-opt-out, and not come back by #oceanus-opt-in. */
export function isOff(): boolean {
  const [, way] = location.hash.split("#oceanus-opt-");
  if (way) write(OFF, way == "out" ? "1" : "");
  return !!read(OFF);
}

/** Return so many random bytes in hexadecimal. */
export const random = (bytes: number): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => (byte + 256).toString(16).slice(1)).join("");

function read(name: string): string {
  try {
    return (("; " + document.cookie).split(`; ${name}=`)[1] || "").split(";")[0]!;
  } catch {
    return ""; // this is a sandboxed frame, which may not ask
  }
}

/** Keep a cookie; one without a value goes away. */
function write(name: string, value: string): void {
  try {
    document.cookie =
      `${name}=${value};path=/;max-age=${value ? SECONDS : 0};SameSite=Lax` +
      (domain && ";domain=" + domain) +
      (location.protocol == "https:" ? ";Secure" : "");
  } catch {
    // as above
  }
}
