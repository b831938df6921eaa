// Navigation within a page: by the Navigation API where there is one, else by the History API.

type Method = "pushState" | "replaceState";

/** Call `changed` 50 ms after the page's address may have changed, when the page has had time to set its title. */
export function follow(changed: () => void): void {
  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = window.setTimeout(changed, 50);
  };
  const { navigation } = window as unknown as { navigation?: EventTarget };
  if (navigation) navigation.addEventListener("currententrychange", soon);
  else {
    for (const name of ["pushState", "replaceState"] as Method[]) {
      const original = history[name];
      history[name] = function (...given: Parameters<History[Method]>) {
        original.apply(this, given);
        soon();
      };
    }
    addEventListener("popstate", soon);
  }
}
