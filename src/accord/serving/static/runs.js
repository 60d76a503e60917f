// Runs: a logarithmic axis, whole curves again, commands to copy, and curves that grow while a training runs.
"use strict";

const charts = () => [...document.querySelectorAll("#curves .chart")].filter((element) => element.chart);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("log" in button.dataset) {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(pressed));
    charts().forEach(scale);
  } else if ("whole" in button.dataset) {
    charts().forEach((element) => element.chart.dispatchAction({ type: "dataZoom", start: 0, end: 100 }));
  } else if ("copy" in button.dataset) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
});

function scale(element) {
  const pressed = document.querySelector("[data-log]")?.getAttribute("aria-pressed") === "true";
  element.chart.setOption({ yAxis: { type: pressed ? "log" : "value" } });
}

// Of each run and term that is drawn the newest points; a term or stage that is new has the charts made anew.
async function grow(key) {
  const answer = await fetch(`/api/runs/${key.split("/").map(encodeURIComponent).join("/")}/curves`);
  if (!answer.ok) return;
  const curves = await answer.json();
  const drawn = new Map(charts().map((element) => [element.dataset.term, element]));
  const found = new Map();
  for (const [name, points] of Object.entries(curves)) {
    const [stage, term] = [name.slice(0, name.indexOf("/")), name.slice(name.indexOf("/") + 1)];
    found.set(term, [...(found.get(term) || []), { name: stage, data: points }]);
  }
  const lines = ([term, element]) => element.chart.getOption().series.length === (found.get(term) || []).length;
  if (!drawn.size ? found.size : ![...drawn].every(lines)) {
    htmx.ajax("GET", location.href, { target: "#curves", select: "#curves", swap: "outerHTML" });
    return;
  }
  for (const [term, element] of drawn) {
    element.chart.setOption({ series: found.get(term) });
    const last = element.closest("figure").querySelector("[data-last]");
    const points = found.get(term).at(-1).data;
    if (last) last.textContent = points.at(-1)[1].toPrecision(4);
  }
}

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target.id === "live") grow(document.getElementById("live").dataset.key);
});
