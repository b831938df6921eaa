// external.js, within external.html on the owner's domain: sends the conversion that conversion.js tells of.

import { parsed } from "./text";
import type { Event, Options } from "./tracker";

const told = new URLSearchParams(location.search);
const { oceanus } = window as unknown as { oceanus: { f(event: Event): void; init(options: Options): void } };
oceanus.init({ site: told.get("site") || undefined, autosend: false, spa: false });
if (told.get("oid") && told.get("evt"))
  oceanus.f({
    oid: told.get("oid"),
    evt: told.get("evt"),
    url: told.get("url"),
    ref: told.get("ref"),
    tit: told.get("tit"),
    jsn: parsed(told.get("jsn")),
  });
