// What pages do beyond htmx: the reader's own time, charts from the table beside them, and a word when the connection is lost.
// Everything here is in the page already; without this file nothing is missing but comfort.
"use strict";

// The reader's time beside UTC, where the two differ.
function localTimes() {
  const language = document.documentElement.lang;
  const format = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
  for (const element of document.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime()) || at.getTimezoneOffset() === 0) continue;
    const sameDay = at.getDate() === at.getUTCDate();
    element.setAttribute("data-local", (sameDay ? clock : format).format(at));
  }
}

const charts = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// E as people write odds.
function odds(log10) {
  if (log10 >= -2 && log10 < 4) return (10 ** log10).toPrecision(log10 < 2 ? 2 : 3).replace(/\.0+$/, "");
  return "10^" + Math.round(log10);
}

function draw() {
  const table = document.getElementById("course");
  if (!table || !window.uPlot) return;
  const rows = [...table.tBodies[0].rows].map(row => row.dataset.v.split(" ").map(Number));
  if (rows.length < 2) return;
  const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const column = at => rows.map(row => row[at]);
  const times = column(0).map(ms => ms / 1000);
  const [hold, halt] = table.dataset.limits.split(" ").map(Number);
  const [holdName, haltName] = table.dataset.names.split("|");
  const log10 = column(5).map(ln => Math.max(ln / Math.LN10, -12));
  const flat = value => times.map(() => value / Math.LN10);
  const share = at => column(at).map(ppb => ppb / 1e7);
  const line = (label, stroke, more) => ({ label, stroke: () => colour(stroke), width: 2, points: { show: false }, ...more });
  const steps = { paths: uPlot.paths.stepped({ align: 1 }) };
  document.querySelector(".charts").classList.add("drawn");

  plot("plot-exposed", [times, column(1), column(2), column(3)], [
    line(heads[1], "--open-fill", { ...steps, fill: () => colour("--sunk") }),
    line("K", "--warn-fill", { ...steps, dash: [6, 4] }),
    line(heads[3], "--good-fill", steps),
  ], values => values.map(value => (Number.isInteger(value) ? String(value) : "")), [0, null]);
  plot("plot-evidence", [times, log10, flat(hold), flat(halt)], [
    line("E", "--open-fill", steps),
    line(holdName, "--warn-fill", { dash: [6, 4] }),
    line(haltName, "--bad-fill", { dash: [2, 3] }),
  ], values => values.map(value => (Number.isInteger(value) ? odds(value) : "")), [null, halt / Math.LN10 * 1.1]);
  plot("plot-reach", [times, share(6), share(7)], [
    line(heads[6], "--warn-fill", { ...steps, dash: [6, 4] }),
    line(heads[7], "--good-fill", steps),
  ], values => values.map(value => value + " %"), [0, 100]);
}

// The recovery curve of an incident.
function drawCurve() {
  const table = document.getElementById("curve");
  if (!table || !window.uPlot) return;
  const rows = [...table.tBodies[0].rows].map(row => row.dataset.v.split(" ").map(Number));
  if (rows.length < 2) return;
  const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  document.querySelector(".charts").classList.add("drawn");
  const steps = { paths: uPlot.paths.stepped({ align: 1 }), width: 2, points: { show: false } };
  plot("plot-curve", [rows.map(row => row[0] / 1000), rows.map(row => row[1]), rows.map(row => row[2])], [
    { label: heads[1], stroke: () => colour("--good-fill"), fill: () => colour("--sunk"), ...steps },
    { label: heads[2], stroke: () => colour("--warn-fill"), dash: [6, 4], ...steps },
  ], values => values.map(value => (Number.isInteger(value) ? String(value) : "")), [0, null]);
}

function plot(id, data, series, label, [low, high]) {
  const place = document.getElementById(id);
  if (!place) return;
  const known = charts.get(id);
  if (known && place.contains(known.root)) {
    known.setData(data);
    return;
  }
  const width = Math.max(place.clientWidth, 240);
  const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { stroke: () => colour("--line") } };
  const chart = new uPlot({
    width,
    height: 210,
    tzDate: at => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { show: false },
    legend: { live: false },
    scales: {
      x: { time: true },
      y: { range: (_, least, most) => {
        const bottom = low ?? Math.min(least ?? 0, -1);
        const top = high ?? Math.max(most ?? 1, 1) * 1.05;
        return [bottom, Math.max(top, most ?? top)];
      } },
    },
    axes: [{ ...axis, space: 70, values: "{HH}:{mm}:{ss}" }, { ...axis, size: 56, values: (_, values) => label(values) }],
    series: [{ label: "UTC" }, ...series],
  }, data, place);
  charts.set(id, chart);
}

function refresh() {
  localTimes();
  draw();
  drawCurve();
}

addEventListener("resize", () => {
  for (const [id, chart] of charts) {
    const place = document.getElementById(id);
    if (place) chart.setSize({ width: Math.max(place.clientWidth, 240), height: 210 });
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(chart => chart.redraw()));

// Whether the page is live.
function say(text) {
  const place = document.getElementById("lost");
  if (place && place.textContent !== text) place.textContent = text;
}
const lost = () => say(document.getElementById("live")?.dataset.lost ?? "");
document.addEventListener("htmx:sse:error", lost);
document.addEventListener("htmx:sse:close", lost);
// Requests that a page leaves behind would end as errors in the browser's console.
const open = new Map();
let leaving = false;
document.addEventListener("htmx:before:request", event => {
  if (leaving) event.preventDefault();
  else open.set(event.target, event.detail.ctx.request);
});
document.addEventListener("htmx:finally:request", event => open.delete(event.target));
document.addEventListener("htmx:sse:after:connection", event => {
  open.set("events", event.detail.connection.abortController);
  say("");
});
addEventListener("beforeunload", () => {
  leaving = true;
  for (const request of open.values()) request.abort();
  // Still here: what was asked for was no page.
  setTimeout(() => location.reload(), 3000);
});
document.addEventListener("htmx:after:swap", refresh);
document.addEventListener("DOMContentLoaded", refresh);
if (document.readyState !== "loading") refresh();
