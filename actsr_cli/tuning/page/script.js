/** The entries of a list of [term, text]. */
function entries(pairs) {
  return pairs.flatMap(([term, text]) => [make("dt", {}, term), make("dd", term === "Command" ? { class: "command" } : {}, text)]);
}

$("winner").append(...entries(data.winner));
$("facts").append(...entries(data.facts));
const errors = data.trials.some((cells) => cells.at(-1));
const told = (cells) => (errors ? cells : cells.slice(0, -1));
$("trials").append(scrolling("Trials", table(told(data.columns), data.trials.map(told), { "aria-label": "Trials" })));
const { bars, note } = data.importance;
$("note").textContent = bars.length ? `Share of the variance of the values: ${note}.` : `Not shown: ${note}.`;
if (bars.length) {
  const rows = bars.map(([name, share]) => [name,
    make("span", { class: "share", style: `--w:${100 * share}%` }, `${Math.round(100 * share)} %`)]);
  $("importance").append(table(["setting", "share"], rows, { "aria-label": "Importance of the settings" }));
}
$("charts").append(...data.charts.map((each) => chart(each)));
$("keys").append(...data.keys.map((each) => chart(each)));
themed(() => {});
