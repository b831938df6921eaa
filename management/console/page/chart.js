// Lines over the last five minutes, as SVG: colours and widths are CSS's, the points are all that changes.

export const SPAN_SECONDS = 300;
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, is) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(is)) made.setAttribute(name, value);
  return made;
}

export class Chart {
  /** `least`: what the top of the chart is at least, so that a little is not drawn as much. */
  constructor(width, height, least) {
    this.width = width;
    this.height = height;
    this.least = least;
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    this.node = svg("svg", {
      class: "chart", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false",
    });
    this.node.append(this.area, this.line);
  }

  /** Draw values at their times up to `now`; where one is not known, the line is broken. Return the highest. */
  draw(times, values, now) {
    const slots = Math.min(this.width / 2, SPAN_SECONDS);
    const points = thinned(times, values, now, slots);
    let highest = 0;
    for (const [, value] of points) if (value > highest) highest = value;
    const top = Math.max(highest, this.least);
    const x = (place) => ((place + 1) / slots) * this.width;
    const y = (value) => this.height - 1 - (value / top) * (this.height - 3);
    let line = "", area = "", last = null;
    for (const [place, value] of points) {
      if (value == null) {
        if (last != null) area += `L${x(last).toFixed(1)} ${this.height}Z`;
        last = null;
        continue;
      }
      const at = `${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
      line += `${last == null ? "M" : "L"}${at}`;
      area += last == null ? `M${x(place).toFixed(1)} ${this.height}L${at}` : `L${at}`;
      last = place;
    }
    if (last != null) area += `L${x(last).toFixed(1)} ${this.height}Z`;
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
    return highest;
  }
}

/**
 * Return [slot, value] for each slot of the span that holds a point: the largest there, null if none is known. Slots are
 * cut by the clock and not by `now`, so that a point keeps its company while the chart moves.
 */
function thinned(times, values, now, slots) {
  const found = [];
  const size = SPAN_SECONDS / slots;
  const latest = Math.floor(now / size);
  let slot = -1;
  for (let place = 0; place < times.length; place++) {
    const its = slots - 1 - latest + Math.floor(times[place] / size);
    if (its < 0 || its >= slots) continue;
    const value = values[place];
    if (its !== slot) found.push([its, value]);
    else if (value != null && !(found.at(-1)[1] >= value)) found.at(-1)[1] = value;
    slot = its;
  }
  return found;
}
