"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const COLORS = ["#3b82c4", "#e08a1e", "#3f9d5a", "#c4453b", "#8a63c9", "#8c6a4f", "#d06ab0", "#7f8794"];
const percent = (value) => (100 * value).toFixed(1) + " %";
const short = (value) => String(+value.toPrecision(4));

/** Create an HTML or SVG element with attributes and children. */
function make(tag, attributes = {}, ...children) {
  const element = make.inSvg.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
make.inSvg = new Set(["svg", "path", "line", "text", "circle", "g", "title"]);

/** Let the button switch between light and dark, beginning with what the browser prefers; `changed` draws again. */
function themed(changed) {
  const set = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", String(dark));
    changed();
  };
  $("theme").addEventListener("click", () => set(document.documentElement.dataset.theme !== "dark"));
  set(matchMedia("(prefers-color-scheme: dark)").matches);
}

/** A table: columns are headers; rows are lists of cells, texts or nodes; with `names` the first cell names its row. */
function table(columns, rows, attributes = {}, names = true) {
  const head = make("tr", {}, ...columns.map((column) => make("th", { scope: "col" }, column)));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, place) =>
    (names && !place ? make("th", { scope: "row" }, cell) : make("td", {}, cell)))));
  return make("table", attributes, make("thead", {}, head), make("tbody", {}, ...body));
}

/** A region that scrolls sideways if its contents are too wide. */
function scrolling(name, ...children) {
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, ...children);
}

/** Round numbers that cover a range: steps of 1, 2 or 5 times a power of ten, at most about `count` of them. */
function roundTicks(low, high, count, whole = false) {
  if (high <= low) [low, high] = whole ? [low - 1, high + 1] : [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  let step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  if (whole) step = Math.max(1, Math.round(step));
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => +((first + index) * step).toFixed(digits));
}

/** Ticks of a logarithmic axis within a range: powers of ten, with 2 and 5 times them if there are few. */
function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of high / low < 300 ? [1, 2, 5] : [1]) ticks.push(+(factor * 10 ** power).toPrecision(1));
  }
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

/** The horizontal axis of a chart: ticks of [place, text], and a function from x to a place between 0 and 1. */
function axisOf(spec, xs) {
  const low = Math.min(...xs), high = Math.max(...xs);
  if (spec.scale === "names") {
    const count = spec.names.length;
    return { ticks: spec.names.map((name, index) => [index, name]), at: (x) => (x + 0.5) / count };
  }
  if (spec.scale === "log") {
    const [a, b] = [Math.log(low) - 0.1, Math.log(high) + 0.1];
    return { ticks: logTicks(low, high).map((tick) => [tick, short(tick)]), at: (x) => (Math.log(x) - a) / (b - a) };
  }
  const ticks = roundTicks(low, high, 5, spec.scale === "whole").filter((tick) => tick >= low - 1e-9 && tick <= high + 1e-9);
  const pad = (high - low || 1) * 0.03;
  return { ticks: ticks.map((tick) => [tick, short(tick)]), at: (x) => (x - low + pad) / (high - low + 2 * pad) };
}

/** The drawing of one series. */
function drawn(each, color, px, py, say) {
  const parts = [], path = (values) => "M" + values.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join("L");
  if (each.band?.length) {
    const outline = [...each.band.map(([x, low]) => [x, low]), ...each.band.map(([x, , high]) => [x, high]).reverse()];
    parts.push(make("path", { d: path(outline) + "Z", fill: color, "fill-opacity": "0.15" }));
  }
  const faint = each.quiet ? { opacity: "0.55" } : {};
  if (each.look !== "points" && each.points.length) {
    const dashes = each.look === "dashed" ? { "stroke-dasharray": "5 4" } : {};
    parts.push(make("path", { d: path(each.points), fill: "none", stroke: color, "stroke-width": each.quiet ? "1.2" : "2", ...dashes, ...faint }));
  }
  const radius = each.look === "points" ? "4" : each.points.length < 40 ? "2.5" : "6";
  const seen = each.look === "points" || each.points.length < 40 ? {} : { "fill-opacity": "0" }; // it can be pointed at all the same
  for (const [x, y] of each.points) {
    parts.push(make("circle", { cx: px(x).toFixed(1), cy: py(y).toFixed(1), r: radius, fill: color, ...faint, ...seen }, make("title", {}, say(each, x, y))));
  }
  return parts;
}

/** Ticks of a rising axis as texts with the same number of decimals. */
function riseTexts(ticks, percents) {
  const [factor, unit] = percents ? [100, " %"] : [1, ""];
  const digits = Math.max(0, ...ticks.map((tick) => (String(+(factor * tick).toPrecision(6)).split(".")[1] ?? "").length));
  return ticks.map((tick) => (factor * tick).toFixed(digits) + unit);
}

/** A chart as a figure: title, drawing, legend, and the same numbers as a table. Its description is a `Chart` of charts.py. */
function chart(spec) {
  const width = matchMedia("(max-width: 600px)").matches ? 320 : 440, height = 240, left = 52, bottom = 38, top = 10, right = 14;
  const format = spec.percents ? percent : short;
  const series = spec.series.filter((each) => each.points.length);
  const points = series.flatMap((each) => [...each.points, ...(each.band ?? []).flatMap(([x, low, high]) => [[x, low], [x, high]])]);
  const ys = [...points.map(([, y]) => y), ...(spec.zero ? [0] : [])];
  const rises = roundTicks(Math.min(...ys), Math.max(...ys), 5), axis = axisOf(spec, points.map(([x]) => x));
  const px = (x) => left + axis.at(x) * (width - left - right);
  const py = (y) => height - bottom - ((y - rises[0]) / (rises.at(-1) - rises[0])) * (height - bottom - top);
  const xText = (x) => (spec.scale === "names" ? spec.names[x] : short(x));
  const name = spec.title + (spec.y ? `: ${spec.y}` : "") + `, by ${spec.x}`;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name });
  const texts = riseTexts(rises, spec.percents);
  for (const [place, y] of rises.entries()) {
    svg.append(make("line", { class: "axis", x1: left, x2: width - right, y1: py(y), y2: py(y) }),
      make("text", { class: "rise", x: left - 6, y: py(y) + 4, "text-anchor": "end" }, texts[place]));
  }
  for (const [x, text] of axis.ticks) svg.append(make("text", { class: "tick", x: px(x), y: height - bottom + 16, "text-anchor": "middle" }, text));
  svg.append(make("text", { x: (width + left) / 2, y: height - 5, "text-anchor": "middle" }, spec.x));
  const loud = series.filter((each) => !each.quiet);
  const color = (each) => (each.quiet ? "var(--soft)" : COLORS[(each.color ?? loud.indexOf(each)) % COLORS.length]);
  const say = (each, x, y) => `${each.name}, ${spec.x} ${xText(x)}: ${format(y)}`;
  for (const each of [...series.filter((each) => each.quiet), ...loud]) svg.append(...drawn(each, color(each), px, py, say));
  const legend = [...loud, ...series.filter((each) => each.quiet).slice(0, 1).map((each) => ({ ...each, name: "others" }))];
  const keys = legend.map((each) => make("li", {},
    make("i", { class: each.look ?? "line", style: `border-color:${color(each)}` }), each.name));
  return make("figure", { class: "chart" }, make("figcaption", {}, make("h3", {}, spec.title), spec.y ? make("p", { class: "hint" }, spec.y) : ""),
    svg, ...(legend.length > 1 ? [make("ul", { class: "legend" }, ...keys)] : []), asNumbers(spec, series, xText, format));
}

/** The numbers of a chart as a table that opens. */
function asNumbers(spec, series, xText, format) {
  const oneEach = series.every((each) => new Set(each.points.map(([x]) => x)).size === each.points.length);
  const columns = [spec.x, ...series.map((each) => each.name)];
  const places = [...new Set(series.flatMap((each) => each.points.map(([x]) => x)))].sort((a, b) => a - b);
  const rows = oneEach
    ? places.map((x) => [xText(x), ...series.map((each) => {
      const point = each.points.find(([place]) => place === x);
      return point ? format(point[1]) : "";
    })])
    : series.flatMap((each, index) => each.points.map(([x, y]) => [xText(x), ...series.map((_, other) => (other === index ? format(y) : ""))]));
  return make("details", {}, make("summary", {}, "As numbers"), scrolling(`${spec.title} as numbers`, table(columns, rows)));
}
