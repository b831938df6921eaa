// conversion.js: on a page of another domain (a partner's, a shop's), tell the owner's domain of a conversion.
//
// It puts an invisible frame of the owner's domain into the page, external.html, which has the visitor's cookie there and
// sends the event. The frame's address: `data-external` of the script tag, else external.html beside this script.

import { clean, json } from "./text";

interface Page {
  oceanus_oid?: unknown;
  oceanus_evt?: unknown;
  oceanus_jsn?: unknown;
  oceanus_conversion?: unknown;
}

const ID = "oceanus-external-ifm";
const { dataset, src } = (document.currentScript || {}) as HTMLScriptElement;
const { external, site } = dataset || {};
const frame = external || new URL(/\/js\/[^/]*$/.test(src || "") ? "../html/external.html" : "external.html", src || location.href).href;

/** Tell of a conversion. */
function conversion(oid?: unknown, evt?: unknown, jsn?: unknown): void {
  const root = document.documentElement;
  const told = new URLSearchParams({
    oid: clean(oid || "notset"),
    evt: clean(evt || "conversion"),
    ref: clean(document.referrer),
    url: clean(document.URL),
    tit: clean(document.title, 256),
    enc: document.characterSet,
    jsn: jsn ? json(jsn) : "",
    vie: root.clientWidth + "x" + root.clientHeight,
    site: site || "",
  });
  const found = document.getElementById(ID);
  const shown = (found || document.createElement("iframe")) as HTMLIFrameElement;
  shown.id = ID;
  shown.hidden = true;
  shown.title = "";
  shown.src = frame + "?" + told;
  if (!found) (document.body || root).appendChild(shown); // in a head there is no body yet
}

const page = window as unknown as Page;
page.oceanus_conversion = conversion;
conversion(page.oceanus_oid, page.oceanus_evt, page.oceanus_jsn);
