const state = { key: "", needsTimes: false, history: [], list: [], target: null, asked: 0 };
make.inSvg.add("rect");

/** Ask the server; what it refuses is thrown as its words. */
async function ask(path, body) {
  const headers = state.key ? { Authorization: `Bearer ${state.key}` } : {};
  const options = body ? { method: "POST", body: JSON.stringify(body), headers: { ...headers, "Content-Type": "application/json" } } : { headers };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const told = await answer.json();
  if (answer.status === 401) $("key-form").hidden = false;
  if (!answer.ok) throw new Error(`${told.error.what}. ${told.error.what_to_do}`);
  return told;
}

/** Do something, and show what went wrong; whether it went well. */
async function attempt(work) {
  try {
    await work();
    $("alert").hidden = true;
    return true;
  } catch (error) {
    $("alert").textContent = error.message;
    $("alert").hidden = false;
    return false;
  }
}

const named = (each) => each.title || each.item;

function pick(each, number, what, clicked) {
  const button = make("button", { type: "button", class: "pick", "aria-label": `${what} ${named(each)}` },
    make("span", { class: "title" }, named(each)), make("span", { class: number.id ? "id" : "number" }, number.text));
  button.addEventListener("click", clicked);
  return button;
}

function add(each) {
  state.history.push({ item: each.item, title: each.title, time: new Date().toISOString() });
  state.target = null;
  refresh();
}

async function search() {
  const found = await ask(`/items?limit=15&query=${encodeURIComponent($("query").value)}`);
  $("matches").textContent = `${found.matches.toLocaleString("en")} items, the most popular first.`;
  $("found").replaceChildren(...found.items.map((each) =>
    make("li", {}, pick(each, { id: true, text: each.title ? each.item : "" }, "Add", () => add(each)))));
}

/** The history as the server takes it. */
function asHistory() {
  const items = state.history.map((each) => each.item);
  return state.needsTimes ? { items, timestamps: state.history.map((each) => each.time) } : items;
}

/** Ask for the list and the explanation; an answer that a newer question has overtaken is not shown. */
async function refresh() {
  const turn = ++state.asked;
  showHistory(null);
  await attempt(async () => {
    const told = await ask("/recommend", { history: asHistory(), k: +$("k").value });
    if (turn !== state.asked) return;
    const [list] = told.lists;
    state.list = list.items;
    $("about").textContent = `The model is ${told.run}. Click items to build a history.`;
    $("by").textContent = list.by === "model" ? "Click an item to add it to the history." : "Without a history, these are the most popular items.";
    state.target ??= list.by === "model" && list.items.length ? list.items[0].item : null;
    showList(list.by);
    if (list.by !== "model" || !state.target) return;
    const explained = await ask("/explain", { history: asHistory(), item: state.target });
    if (turn === state.asked) showHistory(explained);
  });
}

function showList(by) {
  $("list").replaceChildren(...state.list.map((each, place) => {
    const number = by === "model" ? each.score.toFixed(3) : each.score.toLocaleString("en");
    const row = make("li", {}, make("span", { class: "rank" }, `${place + 1}`), pick(each, { text: number }, "Add", () => add(each)));
    if (by !== "model") return row;
    const why = make("button", { type: "button", class: "small", "aria-pressed": String(each.item === state.target), "aria-label": `Explain ${named(each)}` }, "Why?");
    why.addEventListener("click", () => { state.target = each.item; refresh(); });
    row.append(why);
    return row;
  }));
}

/** A bar: what share of the largest value an item has. */
function measure(kind, share, text) {
  const width = Math.max(0, Math.min(1, share)) * 100;
  const bar = make("svg", { viewBox: "0 0 100 9", preserveAspectRatio: "none", "aria-hidden": "true" },
    make("rect", { class: "track", x: 0, y: 0, width: 100, height: 9 }), make("rect", { class: kind, x: 0, y: 0, width, height: 9 }));
  return make("span", { class: "measure" }, bar, make("span", {}, text));
}

/** The items of the history, the latest last; with an explanation, each with its attention and its contribution. */
function showHistory(explained) {
  const read = explained ? explained.items : [], first = state.history.length - read.length;
  const largest = (name) => Math.max(1e-9, ...read.map((each) => Math.abs(each[name] ?? 0)));
  const [attention, contribution] = [largest("attention"), largest("contribution")];
  $("history").replaceChildren(...state.history.map((each, place) => {
    const out = make("button", { type: "button", class: "small", "aria-label": `Remove ${named(each)}` }, "×");
    out.addEventListener("click", () => { state.history.splice(place, 1); state.target = null; refresh(); });
    const row = make("li", {}, make("span", { class: "rank" }, `${place + 1}`), make("span", { class: "title" }, named(each)), out);
    const told = read[place - first];
    if (!told) return row;
    if (told.attention !== null) row.append(measure("attention", told.attention / attention, percent(told.attention)));
    if (told.contribution !== null) {
      const kind = told.contribution < 0 ? "against" : "contribution", sign = told.contribution < 0 ? "−" : "+";
      row.append(measure(kind, Math.abs(told.contribution) / contribution, `${sign}${Math.abs(told.contribution).toFixed(3)}`));
    }
    return row;
  }));
  $("clear").disabled = !state.history.length;
  $("legend").hidden = !explained;
  $("explained").textContent = explained
    ? `Why ${named(explained.target)}: rank ${explained.rank.toLocaleString("en")}, probability ${percent(explained.probability)}.`
    : state.history.length ? "Oldest first." : "Click an item to begin.";
  showLegend(read);
}

function showLegend(read) {
  const has = (test) => read.some(test);
  const entries = [
    ["attention", "attention on the item", has((each) => each.attention !== null)],
    ["contribution", "speaks for it: its log-probability falls without the item", has((each) => each.contribution > 0)],
    ["against", "speaks against it", has((each) => each.contribution < 0)],
  ].filter(([, , shown]) => shown);
  $("legend").replaceChildren(...entries.map(([kind, text]) =>
    make("li", {}, make("svg", { viewBox: "0 0 9 9", "aria-hidden": "true" }, make("rect", { class: kind, x: 0, y: 0, width: 9, height: 9 })), text)));
}

async function begin() {
  const ready = await attempt(async () => {
    state.needsTimes = (await ask("/ready")).needs_timestamps;
    await search();
  });
  if (ready) await refresh();
}

let waiting;
$("query").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => attempt(search), 150); });
$("k").addEventListener("change", refresh);
$("clear").addEventListener("click", () => { state.history = []; state.target = null; refresh(); });
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.key = $("key").value.trim();
  $("key-form").hidden = true;
  begin();
});
themed(() => {});
begin();
