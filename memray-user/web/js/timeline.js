// The plot of memory over time: pure geometry, and the SVG made from it.

import { sizeShort } from "./units.js";
import { svgElement } from "./dom.js";

/** Round values from 0 to at least `highest`, at most `limit` steps: 1, 2 or 5 times a power of ten apart. */
export function niceTicks(highest, limit) {
  if (!(highest > 0)) {
    return [0];
  }
  let step = 10 ** Math.floor(Math.log10(highest / limit));
  for (const factor of [1, 2, 5, 10, 20]) {
    if (highest / (step * factor) <= limit) {
      step *= factor;
      break;
    }
  }
  const ticks = [];
  for (let tick = 0; tick < highest + step; tick += step) {
    ticks.push(tick);
  }
  return ticks;
}

/**
 * An SVG path of steps: at each point up to the highest value since the point before, then to the value that holds
 * until the next. Points in one pixel column are joined, the highest wins. Points without a value are passed over.
 */
export function stepPath(times, highs, values, xOf, yOf, endX) {
  const columns = [];
  for (let index = 0; index < times.length; index++) {
    if (values[index] === null) {
      continue;
    }
    const column = Math.floor(xOf(times[index]));
    const last = columns[columns.length - 1];
    if (last !== undefined && last.column === column) {
      last.highest = Math.max(last.highest, highs[index]);
      last.final = values[index];
    } else {
      columns.push({ column, highest: highs[index], final: values[index] });
    }
  }
  let path = "";
  for (const { column, highest, final } of columns) {
    const enter = path === "" ? `M${column} ${yOf(highest).toFixed(1)}` : `H${column}V${yOf(highest).toFixed(1)}`;
    path += enter + (final === highest ? "" : `V${yOf(final).toFixed(1)}`);
  }
  return path === "" ? "" : `${path}H${endX.toFixed(1)}`;
}

/** The index of the last point at or before `time`; -1 before the first. */
export function pointAt(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

/** Draws the plot into `svg`, whose size on screen it takes. Returns a function from a pixel to a time. */
export function drawTimeline(svg, data) {
  const { width, height } = svg.getBoundingClientRect();
  const margin = { left: 64, right: 14, top: 16, bottom: 20 };
  const rss = data.rss_bytes.filter((value) => value !== null);
  const highest = Math.max(data.peak_bytes, ...data.max_bytes, ...rss, 1);
  const ticks = niceTicks(highest, 3);
  const top = Math.max(highest, ticks[ticks.length - 1]);
  const end = Math.max(data.time_ms[data.time_ms.length - 1] ?? 0, data.peak_ms ?? 0, 1);
  const plotWidth = Math.max(width - margin.left - margin.right, 1);
  const xOf = (time) => margin.left + (time / end) * plotWidth;
  const yOf = (value) => height - margin.bottom - (value / top) * (height - margin.top - margin.bottom);
  const parts = [];
  for (const tick of ticks) {
    const y = yOf(tick).toFixed(1);
    parts.push(svgElement("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y, y2: y }));
    parts.push(svgElement("text", { class: "tick", x: margin.left - 6, y: Number(y) + 4, "text-anchor": "end" }, sizeShort(tick)));
  }
  for (const tick of niceTicks(end, 8).filter((tick) => tick <= end)) {
    const label = end < 2000 ? `${tick} ms` : `${Number((tick / 1000).toPrecision(6))} s`;
    parts.push(svgElement("text", { class: "tick", x: xOf(tick), y: height - 5, "text-anchor": "middle" }, label));
  }
  const endX = xOf(end);
  const live = stepPath(data.time_ms, data.max_bytes, data.live_bytes, xOf, yOf, endX);
  if (live !== "") {
    const base = yOf(0).toFixed(1);
    parts.push(svgElement("path", { class: "area", d: `${live}V${base}H${Math.floor(xOf(data.time_ms[0]))}Z` }));
    parts.push(svgElement("path", { class: "live", d: live }));
  }
  const resident = stepPath(data.time_ms, data.rss_bytes, data.rss_bytes, xOf, yOf, endX);
  parts.push(svgElement("path", { class: "rss", d: resident }));
  if (data.peak_ms !== null) {
    const x = xOf(data.peak_ms);
    const anchor = x > width - 120 ? "end" : "start";
    parts.push(svgElement("line", { class: "peak", x1: x, x2: x, y1: margin.top - 6, y2: height - margin.bottom }));
    parts.push(svgElement("circle", { class: "peak", cx: x, cy: yOf(data.peak_bytes), r: 3.5 }));
    const label = `peak ${sizeShort(data.peak_bytes)}`;
    const labelX = x + (anchor === "end" ? -7 : 7);
    parts.push(svgElement("text", { class: "peak", x: labelX, y: margin.top - 4, "text-anchor": anchor }, label));
  }
  svg.replaceChildren(...parts);
  return (pixel) => ((pixel - margin.left) / plotWidth) * end;
}
