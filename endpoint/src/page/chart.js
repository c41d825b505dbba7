/** Line charts. The axis begins at zero: a cut axis would make small differences look large. */

import { makeSvg } from "./dom.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [48, 468, 12, 186];
const [FIRST, LAST] = [0.5, 1.5];

/** Draws points {x, y, low, high}: `y` is the median of values from `low` to `high`. */
export function plot(svg, points, unit) {
  const highest = roundUp(1.05 * Math.max(1, ...points.map(({ y, high = y }) => high)));
  const across = (x) => LEFT + ((x - FIRST) / (LAST - FIRST)) * (RIGHT - LEFT);
  const up = (y) => BOTTOM - (y / highest) * (BOTTOM - TOP);
  const nodes = [];
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const y = up(highest * share);
    const kind = share ? "grid" : "axis";
    nodes.push(makeSvg("line", { class: kind, x1: LEFT, x2: RIGHT, y1: y, y2: y }));
    const label = Number((highest * share).toPrecision(3));
    nodes.push(makeSvg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, label));
  }
  for (const x of [0.5, 0.7, 0.9, 1.1, 1.3, 1.5]) {
    const place = { x: across(x), y: BOTTOM + 20, "text-anchor": "middle" };
    nodes.push(makeSvg("text", place, x.toFixed(1)));
  }
  for (const { x, low, high } of points.filter((point) => point.low !== undefined)) {
    const ends = { x1: across(x), x2: across(x), y1: up(low), y2: up(high) };
    nodes.push(makeSvg("line", { class: "range", ...ends }));
  }
  const line = points.map(({ x, y }) => `${across(x)},${up(y)}`).join(" ");
  nodes.push(makeSvg("polyline", { points: line }));
  for (const { x, y } of points) {
    const label = makeSvg("title", {}, `${x.toFixed(1)}: ${Number(y.toFixed(1))} ${unit}`);
    nodes.push(makeSvg("circle", { cx: across(x), cy: up(y), r: 4.5 }, label));
  }
  svg.replaceChildren(...nodes);
  const told = points.map(({ x, y }) => `${x.toFixed(1)}: ${Math.round(y)}`).join(", ");
  svg.setAttribute("aria-label", `${unit} over length_penalty. ${told || "Nothing measured yet."}`);
}

function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}
