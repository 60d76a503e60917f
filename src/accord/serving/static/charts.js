// Charts: an element of class "chart" with data-options, the address of an ECharts option as JSON, or with such JSON in
// a script inside; drawn in the colours of the page, and again when these or the size change.
"use strict";

function palette() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { ink: colour("--ink"), muted: colour("--muted"), line: colour("--line"), card: colour("--card"),
    series: [0, 1, 2, 3, 4].map((number) => colour(`--s${number}`)) };
}

function themed(option) {
  const { ink, muted, line, card, series } = palette();
  const axis = { axisLine: { lineStyle: { color: line } }, axisLabel: { color: muted }, nameTextStyle: { color: muted },
    splitLine: { lineStyle: { color: line } } };
  const dress = (axes) => (Array.isArray(axes) ? axes.map((each) => ({ ...axis, ...each })) : axes && { ...axis, ...axes });
  return { color: series, textStyle: { color: ink, fontFamily: "inherit" }, animation: false, aria: { enabled: true },
    ...option, xAxis: dress(option.xAxis), yAxis: dress(option.yAxis),
    legend: option.legend && { textStyle: { color: ink }, pageTextStyle: { color: ink }, type: "scroll", ...option.legend },
    tooltip: option.tooltip && { renderMode: "richText", backgroundColor: card, borderColor: line, textStyle: { color: ink },
      confine: true, ...option.tooltip } };
}

async function draw(element) {
  const inside = element.querySelector("script[type='application/json']");
  const option = inside ? JSON.parse(inside.textContent) : await (await fetch(element.dataset.options)).json();
  const chart = echarts.init(element, null, { renderer: element.dataset.renderer || "canvas" });
  const show = () => chart.setOption(themed(option), true);
  show();
  new ResizeObserver(() => chart.resize()).observe(element);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  element.chart = chart;
  element.dispatchEvent(new CustomEvent("chart:ready", { bubbles: true, detail: chart }));
}

function drawAll(root) {
  root.querySelectorAll(".chart:not([data-drawn])").forEach((element) => {
    element.dataset.drawn = "yes";
    draw(element);
  });
}

document.addEventListener("DOMContentLoaded", () => drawAll(document));
document.addEventListener("htmx:load", (event) => drawAll(event.target));
