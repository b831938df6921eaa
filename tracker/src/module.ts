// The tracker as an ES module: nothing happens before `init`.

export { consent, identify, init, page, track, version } from "./tracker";
export type { Options, Switch } from "./tracker";
