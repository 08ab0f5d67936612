const rank = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });
const chosen = { cell: null };

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

/** The chosen stages of a run as [stage, label]; for one that the run does not have, its nearest one, which the label says. */
function shown(run) {
  const wanted = $("stage").value;
  if (wanted === "all") return run.stages.map((stage) => [stage, stage]);
  if (run.stages.includes(wanted)) return [[wanted, wanted]];
  const place = (stage) => Math.abs(data.stages.indexOf(stage) - data.stages.indexOf(wanted));
  const nearest = run.stages.reduce((best, stage) => (place(stage) < place(best) ? stage : best));
  return [[nearest, `${nearest} (there is no ${wanted} stage)`]];
}

/** What a run shows instead of the chosen layer or head if it does not have it; else nothing. */
function instead(run) {
  const layer = Math.min(+$("layer").value, run.heads.length - 1), head = $("head").value;
  const parts = layer < +$("layer").value ? [`layer ${layer + 1}, its last`] : [];
  if (head !== "mean" && +head >= run.heads[layer]) parts.push(`head ${run.heads[layer]}, its last`);
  return parts.length ? ` (${parts.join("; ")})` : "";
}

function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
  if (entries.some(([value]) => String(value) === before)) select.value = before;
}

function setUp() {
  for (const span of document.querySelectorAll(".sample")) span.textContent = data.sample.toLocaleString("en");
  options($("user"), data.users.map((user, index) => [index, user.title]));
  const heads = Math.max(...data.runs.flatMap((run) => run.heads));
  const layers = Math.max(...data.runs.map((run) => run.heads.length));
  options($("layer"), Array.from({ length: layers }, (_, layer) => [layer, String(layer + 1)]));
  $("layer").value = String(layers - 1);
  options($("head"), [["mean", "mean"], ...Array.from({ length: heads }, (_, head) => [head, String(head + 1)])]);
  options($("stage"), [["all", "all"], ...data.stages.map((stage) => [stage, stage])]);
  for (const id of ["user", "layer", "head", "stage"]) $(id).addEventListener("change", draw);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  themed(draw);
  drawMeasured();
}

function step(by) {
  const count = data.users.length;
  $("user").value = String((+$("user").value + by + count) % count);
  draw();
}

function draw() {
  const user = data.users[+$("user").value];
  chosen.cell = null;
  $("reading").textContent = "No cell selected.";
  $("target").textContent = user.target ? `Target: ${user.target}` : "This history has no target.";
  const lasts = data.runs.map((run, index) => lastRows(run, user.views[index]));
  const highest = Math.max(1e-9, ...lasts.flatMap((rows) => rows.flatMap(([, values]) => values)));
  $("full").textContent = percent(highest);
  $("histories").replaceChildren(...data.runs.map((run, index) => history(run, user.views[index], lasts[index], highest)));
  drawMaps(user);
  drawLearned();
}

/** For each shown stage its label and the attention of the prediction on each place. */
function lastRows(run, view) {
  const last = view.places.length - 1;
  return shown(run).map(([stage, label]) => [label, view.places.map((_, key) => at(view, stage, last, key))]);
}

function history(run, view, rows, highest) {
  const bar = (value) => {
    const cell = make("span", { class: "bar", style: `--w:${(100 * value) / highest}%` });
    cell.append((100 * value).toFixed(1), make("span", { class: "unit" }, " %"));
    return cell;
  };
  const importance = (value) => {
    if (value === undefined) return "";
    const text = value.toFixed(2), rounded = Number(text);
    return make("span", { class: rounded < 0 ? "against" : "" }, rounded > 0 ? `+${text}` : rounded < 0 ? text : "0.00");
  };
  const cells = view.places.map((place, key) => [`${key + 1}. ${place}`,
    ...(view.explained ? [importance(view.importance[key])] : []), ...rows.map(([, values]) => bar(values[key]))]);
  let ranks = "";
  if (view.rank !== null) {
    ranks = `: rank ${rank(view.rank)}` + (run.calibrated ? `, without calibration ${rank(view.plainRank)}` : "");
  }
  const columns = ["item", ...(view.explained ? ["importance"] : []), ...rows.map(([label]) => label)];
  const best = view.recommended.map(([item, probability]) => `${item} (${percent(probability)})`).join(", ");
  return make("div", {}, make("h3", {}, run.name + instead(run) + ranks),
    scrolling(`${run.name}, history`, table(columns, cells, { class: columns.length > 5 ? "history many" : "history", "aria-label": `Attention of ${run.name}` })),
    ...(view.explained ? [make("p", { class: "hint" },
      `Importance: what the item adds to the log-probability of ${view.explained} (integrated gradients).`)] : []),
    make("p", { class: "hint" }, `Recommended outside the history: ${best}`));
}

function ramp(share) {
  const style = getComputedStyle(document.documentElement);
  const [low, high] = ["--low", "--high"].map((name) => style.getPropertyValue(name).split(",").map(Number));
  return low.map((value, index) => Math.round(value + (high[index] - value) * Math.sqrt(share)));
}

function drawMaps(user) {
  const colors = Array.from({ length: 256 }, (_, index) => ramp(index / 255));
  const all = data.runs.flatMap((run, index) => shown(run).map(([stage]) => [user.views[index], stage]));
  let highest = 1e-9;
  for (const [view, stage] of all) {
    view.places.forEach((_, query) => view.places.forEach((_, key) => { highest = Math.max(highest, at(view, stage, query, key)); }));
  }
  $("highest").textContent = percent(highest);
  drawScale(colors);
  $("maps").replaceChildren(...data.runs.map((run, index) => {
    const view = user.views[index];
    const grid = make("div", { class: "grid" }, ...shown(run).map(([stage, label]) => map(run, view, stage, label, colors, highest)));
    return make("div", {}, make("h3", {}, run.name + instead(run)), grid);
  }));
}

function drawScale(colors) {
  const context = $("scale").querySelector("canvas").getContext("2d");
  for (let x = 0; x < 240; x++) {
    context.fillStyle = `rgb(${colors[Math.round((255 * x) / 239)]})`;
    context.fillRect(x, 0, 1, 10);
  }
}

/** One map: a cell per query and key, with the names of the items beside the rows and below the columns. */
function map(run, view, stage, label, colors, highest) {
  const n = view.places.length, cell = Math.min(24, Math.max(4, Math.round(560 / n)));
  const title = `${run.name}, ${label}: ${n} by ${n} weights; arrow keys move from cell to cell`;
  const canvas = make("canvas", { width: n, height: n, tabindex: "0", role: "img", "aria-label": title,
    style: `width:${n * cell}px;height:${n * cell}px` });
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
  const every = Math.ceil(11 / cell); // a name needs 11 pixels
  const names = (side) => make("div", { class: side, "aria-hidden": "true" }, ...view.places.map((place, index) =>
    make("span", { style: `--cell:${cell}px`, title: place }, index % every ? "" : place)));
  return make("figure", {}, make("figcaption", {}, label),
    make("div", { class: "scroll" }, make("div", { class: "map" }, names("queries"), canvas, names("keys"))));
}

function read(run, view, query, key) {
  chosen.cell = [query, key];
  const values = run.stages.map((stage) => `${stage} ${percent(at(view, stage, query, key))}`).join(", ");
  $("reading").textContent = `query ${query + 1}. ${view.places[query]}, key ${key + 1}. ${view.places[key]}: ${values} (${run.name})`;
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
  const collect = (title, xLabel, pick, percents = true) => {
    const series = data.runs.flatMap((run) => pick(run.learned[Math.min(layer, run.learned.length - 1)], run)
      .map(([name, values, look]) => ({ name: (data.runs.length > 1 ? `${name}, ${run.model}` : name) + instead(run), points: indexed(values), look })));
    if (series.length) charts.push(chart({ title, x: xLabel, y: "", series, scale: "whole", zero: true, percents }));
  };
  collect("Mean weight of a key", "distance between query and key", (learned) =>
    Object.entries(learned.weights).map(([stage, rows]) => [stage, curve(rows)]));
  collect("Order term: probability of the true order", "distance between query and key", (learned) =>
    (learned.order ? [["order term", curve(learned.order)]] : []));
  collect("Distance term: predicted distance", "distance between query and key", (learned) => {
    if (!learned.distance) return [];
    const predicted = curve(learned.distance);
    return [["predicted", predicted], ["true", predicted.map((_, index) => index), "dashed"]];
  }, false);
  collect("Gate: share of the uncalibrated weights", "distance from the latest position", (learned) =>
    (learned.gate ? [["gate", learned.gate]] : []));
  $("learned").replaceChildren(...charts);
}

function drawMeasured() {
  const parts = data.measured.map((part) => make("div", {}, make("h3", {}, part.title),
    scrolling(part.title, table(part.columns, part.rows, { "aria-label": part.title })), make("p", { class: "hint" }, part.note)));
  const charts = data.charts.map((each) => chart(each));
  $("measured").replaceChildren(...parts, make("div", { class: "columns" }, ...charts));
}

setUp();
