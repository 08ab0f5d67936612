"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const percent = (value) => (100 * value).toFixed(1) + " %";
const rank = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });
const COLORS = ["#3b82c4", "#e08a1e", "#3f9d5a", "#c4453b", "#8a63c9", "#8c6a4f", "#d06ab0", "#7f8794"];
const chosen = { cell: null };

/** Create an HTML or SVG element with attributes and children. */
function make(tag, attributes = {}, ...children) {
  const element = tag === "svg" || make.inSvg.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
make.inSvg = new Set(["path", "line", "text", "polygon", "g", "title"]);

/** Weights of one stage of a view, 16 bits each, by layer and head; a causal view has only keys up to the query. */
function decode(view, stage) {
  view.decoded ??= {};
  if (!view.decoded[stage]) {
    const bytes = Uint8Array.from(atob(view.weights[stage]), (letter) => letter.charCodeAt(0));
    view.decoded[stage] = new Uint16Array(bytes.buffer);
  }
  return view.decoded[stage];
}

function weight(view, stage, layer, head, query, key) {
  if (view.causal && key > query) return 0;
  const n = view.places.length, numbers = decode(view, stage);
  const size = view.causal ? (n * (n + 1)) / 2 : n * n;
  const place = view.causal ? (query * (query + 1)) / 2 + key : query * n + key;
  const heads = view.heads[layer], first = view.heads.slice(0, layer).reduce((sum, count) => sum + count, 0);
  if (head !== "mean") return numbers[(first + Math.min(+head, heads - 1)) * size + place] / 65535;
  let sum = 0;
  for (let each = 0; each < heads; each++) sum += numbers[(first + each) * size + place];
  return sum / heads / 65535;
}

const layerOf = (view) => Math.min(+$("layer").value, view.heads.length - 1);
const at = (view, stage, query, key) => weight(view, stage, layerOf(view), $("head").value, query, key);
const shown = (run) => ($("stage").value === "all" ? run.stages : run.stages.filter((stage) => stage === $("stage").value));

function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
  if (entries.some(([value]) => String(value) === before)) select.value = before;
}

function setUp() {
  $("about").textContent = data.about;
  for (const span of document.querySelectorAll(".sample")) span.textContent = data.sample.toLocaleString("en");
  options($("user"), data.users.map((user, index) => [index, user.title]));
  const heads = Math.max(...data.runs.flatMap((run) => run.heads));
  const layers = Math.max(...data.runs.map((run) => run.heads.length));
  options($("layer"), Array.from({ length: layers }, (_, layer) => [layer, String(layer + 1)]));
  $("layer").value = String(layers - 1);
  options($("head"), [["mean", "mean"], ...Array.from({ length: heads }, (_, head) => [head, String(head + 1)])]);
  const stages = [...new Set(data.runs.flatMap((run) => run.stages))];
  options($("stage"), [["all", "all"], ...stages.map((stage) => [stage, stage])]);
  for (const id of ["user", "layer", "head", "stage"]) $(id).addEventListener("change", draw);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));
  theme(matchMedia("(prefers-color-scheme: dark)").matches);
  drawMeasured();
}

function step(by) {
  const count = data.users.length;
  $("user").value = String((+$("user").value + by + count) % count);
  draw();
}

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(dark));
  draw();
}

function draw() {
  const user = data.users[+$("user").value];
  chosen.cell = null;
  $("reading").textContent = "No cell selected.";
  $("target").textContent = user.target ? `Target: ${user.target}` : "This history has no target.";
  $("histories").replaceChildren(...data.runs.map((run, index) => history(run, user.views[index])));
  drawMaps(user);
  drawLearned();
}

function history(run, view) {
  const last = view.places.length - 1;
  const stages = shown(run);
  const values = stages.map((stage) => view.places.map((_, key) => at(view, stage, last, key)));
  const highest = Math.max(1e-9, ...values.flat());
  const rows = view.places.map((place, key) => make("tr", {}, make("td", {}, String(key + 1)), make("td", { class: "item" }, place),
    ...values.map((row) => make("td", { class: "bar", style: `--w:${(100 * row[key]) / highest}%` }, percent(row[key])))));
  const head = make("tr", {}, make("th", { scope: "col" }, "#"), make("th", { scope: "col", class: "item" }, "item"),
    ...stages.map((stage) => make("th", { scope: "col" }, stage)));
  let ranks = "";
  if (view.rank !== null) {
    ranks = `: rank ${rank(view.rank)}` + (run.calibrated ? `, without calibration ${rank(view.plainRank)}` : "");
  }
  const table = make("table", { "aria-label": `Attention of ${run.name}` }, make("thead", {}, head), make("tbody", {}, ...rows));
  const best = view.recommended.map(([item, probability]) => `${item} (${percent(probability)})`).join(", ");
  return make("div", {}, make("h3", {}, run.name + ranks),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${run.name}, history` }, table),
    make("p", { class: "recommended" }, `Recommended outside the history: ${best}`));
}

function ramp(share) {
  const style = getComputedStyle(document.documentElement);
  const [low, high] = ["--low", "--high"].map((name) => style.getPropertyValue(name).split(",").map(Number));
  return low.map((value, index) => Math.round(value + (high[index] - value) * Math.sqrt(share)));
}

function drawMaps(user) {
  const colors = Array.from({ length: 256 }, (_, index) => ramp(index / 255));
  const all = data.runs.flatMap((run, index) => shown(run).map((stage) => [user.views[index], stage]));
  let highest = 1e-9;
  for (const [view, stage] of all) {
    view.places.forEach((_, query) => view.places.forEach((_, key) => { highest = Math.max(highest, at(view, stage, query, key)); }));
  }
  $("highest").textContent = percent(highest);
  drawScale(colors);
  $("maps").replaceChildren(...data.runs.map((run, index) => {
    const view = user.views[index];
    const grid = make("div", { class: "grid" }, ...shown(run).map((stage) => map(run, view, stage, colors, highest)));
    return make("div", { class: "row" }, make("h3", {}, run.name), grid);
  }));
}

function drawScale(colors) {
  const context = $("scale").querySelector("canvas").getContext("2d");
  for (let x = 0; x < 240; x++) {
    context.fillStyle = `rgb(${colors[Math.round((255 * x) / 239)]})`;
    context.fillRect(x, 0, 1, 10);
  }
}

function map(run, view, stage, colors, highest) {
  const n = view.places.length;
  const label = `${run.name}, ${stage}: ${n} by ${n} weights; arrow keys move from cell to cell`;
  const canvas = make("canvas", { width: n, height: n, tabindex: "0", role: "img", "aria-label": label });
  const context = canvas.getContext("2d"), image = context.createImageData(n, n);
  for (let query = 0; query < n; query++) {
    for (let key = 0; key < n; key++) {
      const color = colors[Math.round((255 * at(view, stage, query, key)) / highest)];
      image.data.set([...color, 255], 4 * (query * n + key));
    }
  }
  context.putImageData(image, 0, 0);
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const place = (value, size) => Math.min(n - 1, Math.max(0, Math.floor((n * value) / size)));
    read(run, view, place(event.clientY - box.top, box.height), place(event.clientX - box.left, box.width));
  });
  canvas.addEventListener("focus", () => read(run, view, n - 1, n - 1));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!moves[event.key]) return;
    event.preventDefault();
    const [query, key] = (chosen.cell ?? [n - 1, n - 1]).map((value, axis) => Math.min(n - 1, Math.max(0, value + moves[event.key][axis])));
    read(run, view, query, key);
  });
  return make("figure", {}, canvas, make("figcaption", {}, stage));
}

function read(run, view, query, key) {
  chosen.cell = [query, key];
  const values = run.stages.map((stage) => `${stage} ${percent(at(view, stage, query, key))}`).join(", ");
  $("reading").textContent = `query ${query + 1}. ${view.places[query]}, key ${key + 1}. ${view.places[key]}: ${values} (${run.name})`;
}

/** A line chart: series are {name, points: [[x, y], ...], band: [[x, low, high], ...], dashed}. */
function chart(title, xLabel, series, format = (value) => String(+value.toPrecision(3))) {
  const width = 420, height = 230, left = 48, bottom = 34, top = 8, right = 8;
  const points = series.flatMap((each) => [...each.points, ...(each.band ?? []).flatMap(([x, low, high]) => [[x, low], [x, high]])]);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const x0 = Math.min(...xs), x1 = Math.max(...xs, x0 + 1e-9), y0 = Math.min(0, ...ys), y1 = Math.max(...ys, y0 + 1e-9);
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => height - bottom - ((y - y0) / (y1 - y0)) * (height - bottom - top);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, by ${xLabel}` });
  for (let tick = 0; tick <= 4; tick++) {
    const y = y0 + ((y1 - y0) * tick) / 4, x = x0 + ((x1 - x0) * tick) / 4;
    svg.append(make("line", { class: "axis", x1: left, x2: width - right, y1: py(y), y2: py(y) }),
      make("text", { x: left - 5, y: py(y) + 4, "text-anchor": "end" }, format(y)),
      make("text", { x: px(x), y: height - bottom + 14, "text-anchor": "middle" }, String(+x.toPrecision(2))));
  }
  svg.append(make("text", { x: (width + left) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
  const path = (values) => "M" + values.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join("L");
  series.forEach((each, index) => {
    const color = COLORS[index % COLORS.length];
    if (each.band) {
      const outline = [...each.band.map(([x, low]) => [x, low]), ...each.band.map(([x, , high]) => [x, high]).reverse()];
      svg.append(make("path", { d: path(outline) + "Z", fill: color, "fill-opacity": "0.15" }));
    }
    svg.append(make("path", { d: path(each.points), fill: "none", stroke: color, "stroke-width": "2",
      ...(each.dashed ? { "stroke-dasharray": "5 4" } : {}) }));
  });
  const legend = make("ul", { class: "legend" }, ...series.map((each, index) => make("li", {},
    make("i", { style: `border-top-color:${COLORS[index % COLORS.length]};border-top-style:${each.dashed ? "dashed" : "solid"}` }), each.name)));
  const columns = [...new Set(series.flatMap((each) => each.points.map(([x]) => x)))].sort((a, b) => a - b);
  const rows = columns.map((x) => make("tr", {}, make("td", {}, String(x)), ...series.map((each) => {
    const point = each.points.find(([place]) => place === x);
    return make("td", {}, point ? format(point[1]) : "");
  })));
  const head = make("tr", {}, make("th", { scope: "col" }, xLabel), ...series.map((each) => make("th", { scope: "col" }, each.name)));
  const numbers = make("details", {}, make("summary", {}, "As numbers"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title} as numbers` },
      make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
  return make("div", {}, make("h3", {}, title), svg, legend, numbers);
}

function drawLearned() {
  const layer = +$("layer").value, head = $("head").value;
  const curve = (rows) => {
    if (!Array.isArray(rows[0])) return rows;
    if (head !== "mean") return rows[Math.min(+head, rows.length - 1)];
    return rows[0].map((_, index) => rows.reduce((sum, row) => sum + row[index], 0) / rows.length);
  };
  const indexed = (values) => values.map((value, index) => [index, value]);
  const charts = [];
  const collect = (title, xLabel, pick, format) => {
    const series = data.runs.flatMap((run) => pick(run.learned[Math.min(layer, run.learned.length - 1)], run)
      .map(([name, values, dashed]) => ({ name: data.runs.length > 1 ? `${name}, ${run.model}` : name, points: indexed(values), dashed })));
    if (series.length) charts.push(chart(title, xLabel, series, format));
  };
  collect("Mean weight of a key", "distance between query and key", (learned) =>
    Object.entries(learned.weights).map(([stage, rows]) => [stage, curve(rows)]), percent);
  collect("Order term: probability of the true order", "distance between query and key", (learned) =>
    (learned.order ? [["order term", curve(learned.order)]] : []), percent);
  collect("Distance term: predicted distance", "distance between query and key", (learned) => {
    if (!learned.distance) return [];
    const predicted = curve(learned.distance);
    return [["predicted", predicted], ["true", predicted.map((_, index) => index), true]];
  });
  collect("Gate: share of the uncalibrated weights", "distance from the latest position", (learned) =>
    (learned.gate ? [["gate", learned.gate]] : []), percent);
  $("learned").replaceChildren(...charts);
}

function drawMeasured() {
  const parts = data.measured.map((part) => {
    const body = part.rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))));
    const table = make("table", {}, make("caption", {}, part.title),
      make("thead", {}, make("tr", {}, ...part.columns.map((column) => make("th", { scope: "col" }, column)))), make("tbody", {}, ...body));
    return make("div", {}, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": part.title }, table),
      make("p", { class: "hint" }, part.note));
  });
  const charts = data.charts.map((each) => chart(each.title, each.x, each.series));
  if (!parts.length && !charts.length) $("summary").hidden = true;
  $("measured").replaceChildren(...parts, make("div", { class: "columns" }, ...charts));
}

setUp();
