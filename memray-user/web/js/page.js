// What all pages have in common: title, notices, facts, plot, theme.

import { countText, durationText, printable, sizeShort, timeText } from "./units.js";
import { byId, element, oncePerFrame } from "./dom.js";
import { drawTimeline, pointAt } from "./timeline.js";

const FACT_TEXT = {
  text: (fact) => printable(fact.text),
  time: (fact) => timeText(fact.number),
  duration: (fact) => durationText(fact.number),
  bytes: (fact) => sizeShort(fact.number),
  count: (fact) => countText(fact.number),
};

/** Fills the parts of a page that every report has. `onTheme` is called when light and dark change. */
export function setUpPage(meta, reportName, onTheme) {
  const command = meta.facts.find((fact) => fact.name === "Command");
  const commandText = command === undefined ? "" : printable(command.text);
  document.title = `${reportName} (${meta.view})${commandText === "" ? "" : `: ${commandText}`}`;
  byId("view").textContent = meta.view;
  byId("command").textContent = commandText;
  byId("command").title = commandText;
  showNotices(meta);
  showFacts(meta);
  showProcesses(meta.processes);
  showTimeline(meta.timeline, meta.processes === undefined ? 1 : meta.processes.pid.length + meta.processes.left_out);
  setUpTheme(onTheme);
}

function showNotices(meta) {
  if (meta.headline === null) {
    return;
  }
  const list = element("ul", {}, ...meta.notices.map((notice) => element("li", {}, notice)));
  byId("notices").append(element("strong", {}, meta.headline), list);
  byId("notices").hidden = false;
}

function showFacts(meta) {
  for (const fact of meta.facts) {
    byId("facts").append(element("dt", {}, fact.name), element("dd", {}, FACT_TEXT[fact.kind](fact)));
  }
  byId("show-facts").addEventListener("click", () => byId("facts-dialog").showModal());
}

/** Heads and cells of the table of processes; a cell is a text. */
export function processTable(processes) {
  const columns = [
    ["Pid", processes.pid.map(String)],
    ["Parent", processes.parent_pid.map((pid) => (pid === null ? "–" : String(pid)))],
    ["Origin", processes.origin],
    ["Command", processes.command.map(printable)],
    ["Python", processes.python.map((version) => printable(version) || "–")],
    ["Peak", processes.peak_bytes.map(sizeShort)],
    ["Allocations", processes.count.map(countText)],
    ["At the end", processes.live_bytes.map(sizeShort)],
    ["Counted since (UTC)", processes.since_ms.map((time) => (time === null ? "–" : timeText(time).slice(0, -4)))],
    ["End", processes.end],
  ];
  return { heads: columns.map(([head]) => head), rows: processes.pid.map((_, row) => columns.map(([, cells]) => cells[row])) };
}

function showProcesses(processes) {
  if (processes === undefined) {
    return;
  }
  const { heads, rows } = processTable(processes);
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const lines = rows.map((cells) => element("tr", {}, ...cells.map((text) => element("td", {}, text))));
  const table = element("table", { className: "processes" }, element("thead", {}, head), element("tbody", {}, ...lines));
  const more = processes.left_out === 0 ? [] : [element("p", {}, `${countText(processes.left_out)} more with smaller peaks.`)];
  byId("facts").after(element("h2", {}, "Processes"), element("div", { className: "processes-frame", tabIndex: 0 }, table), ...more);
}

function showTimeline(data, processCount) {
  const plot = byId("timeline");
  if (data.time_ms.length === 0) {
    byId("timeline-panel").hidden = true;
    return;
  }
  const hasRss = data.rss_bytes.some((value) => value !== null);
  byId("timeline-legend").append(element("span", { className: "key live" }, processCount === 1 ? "heap" : `heap of ${countText(processCount)} processes together`));
  if (hasRss) {
    byId("timeline-legend").append(element("span", { className: "key rss" }, "resident set"));
  }
  let timeOf = drawTimeline(plot, data);
  new ResizeObserver(oncePerFrame(() => (timeOf = drawTimeline(plot, data)))).observe(plot);
  plot.addEventListener("pointermove", (event) => {
    const time = timeOf(event.clientX - plot.getBoundingClientRect().left);
    const point = pointAt(data.time_ms, time);
    const rss = point >= 0 && hasRss && data.rss_bytes[point] !== null ? `, resident ${sizeShort(data.rss_bytes[point])}` : "";
    const heap = point < 0 ? "" : `${durationText(data.time_ms[point])}: heap ${sizeShort(data.live_bytes[point])}${rss}`;
    byId("timeline-readout").textContent = heap;
  });
  plot.addEventListener("pointerleave", () => (byId("timeline-readout").textContent = ""));
}

/** True if the page is dark now. */
export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : chosen === "dark";
}

function setUpTheme(onTheme) {
  // Pages from disk may have no storage.
  const stored = (action) => {
    try {
      return action(localStorage);
    } catch {
      return null;
    }
  };
  const theme = stored((storage) => storage.getItem("memray-theme"));
  if (theme === "dark" || theme === "light") {
    document.documentElement.dataset.theme = theme;
  }
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    stored((storage) => storage.setItem("memray-theme", document.documentElement.dataset.theme));
    onTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onTheme);
}
