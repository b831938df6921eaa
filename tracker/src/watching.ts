// Watching: what a visitor does on a page, and what fails there, as events.

import type { Event as Told, Options } from "./tracker";

declare const FULL: boolean;
type Tell = (event: Told) => void;
type On = (name: keyof Options) => boolean;

const FILES = /\.(pdf|zip|gz|7z|rar|dmg|exe|msi|apk|csv|xlsx?|docx?|pptx?|txt|mp[34]|mov|avi|wav|epub)$/i;
const MOST_ERRORS = 5;

/** Tell of clicks on links: of all, of those to other hosts, of those to files. */
export function watchLinks(tell: Tell, on: On): void {
  const clicked = (event: MouseEvent) => {
    const link = (event.target as Element).closest("a");
    if (!link || event.button > 1) return;
    const words = link.innerText.replace(/\s+/g, " ");
    const pictures = Array.from(link.querySelectorAll("img"), (image) => image.alt).join("");
    const told = (evt: string, url: string | null) =>
      tell({
        evt,
        url,
        ref: location.href,
        tit: (words && "[text]" + words) + (pictures && "[alt]" + pictures),
        jsn: { pageX: event.pageX | 0, pageY: event.pageY | 0 },
      });
    const { href, host, pathname } = link;
    if (on("clicks") && !event.button) told("linkclick", link.getAttribute("href"));
    if (!FULL || !/^http/.test(href)) return;
    if (FULL && on("outbound") && host != location.host) told("outbound", href);
    if (FULL && on("downloads") && FILES.test(pathname)) told("download", href);
  };
  addEventListener("click", clicked, true);
  if (FULL) addEventListener("auxclick", clicked, true);
}

/** Tell of each submit of a form that has a name for us; of its fields, nothing. */
export function watchForms(tell: Tell, on: On): void {
  addEventListener(
    "submit",
    (event) => {
      const form = (event.target as Element).getAttribute("data-oceanus-form");
      if (form != null && on("forms")) tell({ evt: "form", jsn: { form } });
    },
    true,
  );
}

/** Tell of scripts that fail, five times a page. */
export function watchErrors(tell: Tell, on: On): void {
  let left = MOST_ERRORS;
  const failed = (message: unknown, source?: string, line?: number) =>
    on("errors") && left-- > 0 && tell({ evt: "error", jsn: { message: String(message), source, line } });
  addEventListener("error", (event) => failed(event.message, event.filename, event.lineno));
  addEventListener("unhandledrejection", (event) => failed(event.reason));
}
