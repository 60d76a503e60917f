// The plane of a space: points come as float32, are drawn a series for each colour, and found again by their place.
"use strict";

const space = document.getElementById("space");
const address = space.dataset.address;
const api = `/api${address}`;
const count = Number(space.dataset.rows);
const modalities = JSON.parse(document.getElementById("modalities").textContent);
const sheet = document.getElementById("sheet");
const outline = document.querySelector("#drawn polygon");
let chart;
let points; // x and y of each row, modality after modality
let groups; // of one colour: name, colour, points, and their numbers among all
let chosen = []; // places of rows
let known = new Map(); // place of a row -> what it says

// ---- drawing ----------------------------------------------------------------------------------------------------------

function colours(number) {
  const { series } = palette();
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return Array.from({ length: number }, (_, index) =>
    index < series.length ? series[index] : `hsl(${(index * 53 + 15) % 360} 50% ${dark ? 68 : 40}%)`);
}

function gather(names, codeOf, rest) {
  const sizes = new Array(names.length + 1).fill(0);
  const total = points.length / 2;
  for (let at = 0; at < total; at++) sizes[codeOf(at) < 0 ? names.length : codeOf(at)]++;
  const shades = [...colours(names.length), palette().line];
  if (rest) shades[names.length - 1] = palette().muted;
  const made = [...names, "none"].map((name, index) => ({ name, colour: shades[index], fill: 0,
    z: index < names.length - (rest ? 1 : 0) ? 3 : 2, // what has no colour of its own lies below
    points: new Float32Array(2 * sizes[index]), members: new Int32Array(sizes[index]) }));
  for (let at = 0; at < total; at++) {
    const group = made[codeOf(at) < 0 ? names.length : codeOf(at)];
    group.points[2 * group.fill] = points[2 * at];
    group.points[2 * group.fill + 1] = points[2 * at + 1];
    group.members[group.fill++] = at;
  }
  return made.filter((group) => group.fill);
}

function frame() {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let at = 0; at < points.length; at += 2) {
    left = Math.min(left, points[at]); right = Math.max(right, points[at]);
    low = Math.min(low, points[at + 1]); high = Math.max(high, points[at + 1]);
  }
  const [width, height] = [chart.getWidth(), chart.getHeight() - 40];
  const unit = 1.06 * Math.max((right - left) / width, (high - low) / height, 1e-9); // of a pixel, in both directions
  const [x, y] = [(left + right) / 2, (low + high) / 2];
  return { x: { min: x - unit * width / 2, max: x + unit * width / 2 },
    y: { min: y - unit * height / 2, max: y + unit * height / 2 } };
}

function show() {
  const { ink, muted } = palette();
  const bounds = frame();
  const axis = { type: "value", axisLabel: { show: false }, axisTick: { show: false }, axisLine: { show: false },
    splitLine: { show: false } };
  const zoom = { type: "inside", filterMode: "none", minSpan: 0.05, throttle: 0 };
  const [across, up] = (chart.getOption()?.dataZoom || [{}, {}]).map(({ start = 0, end = 100 }) => ({ start, end }));
  chart.setOption({
    animation: false, textStyle: { color: ink, fontFamily: "inherit" },
    grid: { left: 0, right: 0, top: 40, bottom: 0 },
    legend: { type: "scroll", top: 4, left: 0, right: 0, itemWidth: 12, itemHeight: 12, icon: "circle",
      textStyle: { color: ink }, pageTextStyle: { color: muted }, pageIconColor: ink, pageIconInactiveColor: muted,
      data: groups.map((group) => group.name) },
    xAxis: { ...axis, ...bounds.x }, yAxis: { ...axis, ...bounds.y },
    dataZoom: [{ ...zoom, ...across, xAxisIndex: 0, id: "x" }, { ...zoom, ...up, yAxisIndex: 0, id: "y" }],
    series: [...groups.map((group) => ({ type: "scatter", name: group.name, data: group.points, dimensions: ["x", "y"],
      z: group.z, large: true, largeThreshold: 1, progressive: 0, symbolSize: 3.2,
      itemStyle: { color: group.colour, opacity: 0.62 } })), marked()],
  }, true);
}

function marked() {
  const held = new Float32Array(2 * modalities.length * chosen.length);
  chosen.forEach((place, number) => modalities.forEach((_, side) => {
    const [from, to] = [2 * (side * count + place), 2 * (number * modalities.length + side)];
    held[to] = points[from]; held[to + 1] = points[from + 1];
  }));
  return { type: "scatter", id: "chosen", data: held, dimensions: ["x", "y"], large: true, largeThreshold: 1,
    progressive: 0, silent: true, z: 4, symbolSize: 4.5, itemStyle: { color: palette().ink } };
}

async function recolour() {
  const by = document.getElementById("by").value;
  if (by) {
    const answer = await fetch(`${api}/colours?by=${encodeURIComponent(by)}`);
    const found = await answer.json();
    if (!answer.ok) { tell(found.detail); return; }
    groups = gather(found.names, (at) => found.codes[at % count], found.rest);
  } else {
    groups = gather(modalities, (at) => Math.floor(at / count));
  }
  show();
}

// ---- looking around ---------------------------------------------------------------------------------------------------

function zoomBy(factor) {
  const [x, y] = chart.getOption().dataZoom;
  for (const { id, start, end } of [x, y]) {
    const [middle, half] = [(start + end) / 2, Math.min((end - start) * factor / 2, 50)];
    chart.dispatchAction({ type: "dataZoom", dataZoomId: id, start: Math.max(middle - half, 0), end: Math.min(middle + half, 100) });
  }
}

function visible() {
  const { selected } = chart.getOption().legend[0];
  return groups.filter((group) => selected?.[group.name] !== false);
}

function within(test) {
  const found = new Set();
  for (const group of visible()) {
    for (let at = 0; at < group.members.length; at++) {
      if (test(group.points[2 * at], group.points[2 * at + 1])) found.add(group.members[at] % count);
    }
  }
  return [...found].sort((one, other) => one - other);
}

function inView() {
  const [left, low] = chart.convertFromPixel({ gridIndex: 0 }, [0, chart.getHeight()]);
  const [right, high] = chart.convertFromPixel({ gridIndex: 0 }, [chart.getWidth(), 40]);
  return within((x, y) => x >= left && x <= right && y >= low && y <= high);
}

function inside(corners) {
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return (x, y) => {
    if (x < left || x > right || y < low || y > high) return false;
    let odd = false;
    for (let one = 0, other = xs.length - 1; one < xs.length; other = one++) {
      if ((ys[one] > y) !== (ys[other] > y) && x < (xs[other] - xs[one]) * (y - ys[one]) / (ys[other] - ys[one]) + xs[one]) odd = !odd;
    }
    return odd;
  };
}

function lassoed() {
  const [glass, button] = [document.getElementById("drawn"), document.getElementById("lasso")];
  let path = null;
  const draw = () => outline.setAttribute("points", (path || []).map((corner) => corner.join(",")).join(" "));
  const place = (event) => {
    const box = glass.getBoundingClientRect();
    return [Math.round(event.clientX - box.left), Math.round(event.clientY - box.top)];
  };
  const end = () => { path = null; draw(); };
  glass.addEventListener("pointerdown", (event) => { glass.setPointerCapture(event.pointerId); path = [place(event)]; });
  glass.addEventListener("pointermove", (event) => { if (path) { path.push(place(event)); draw(); } });
  glass.addEventListener("pointercancel", end);
  glass.addEventListener("pointerup", () => {
    if (path && path.length > 2) list(within(inside(path.map((pixel) => chart.convertFromPixel({ gridIndex: 0 }, pixel)))));
    end();
  });
  button.addEventListener("click", () => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(pressed));
    glass.classList.toggle("on", pressed);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") end(); });
}

// ---- rows -------------------------------------------------------------------------------------------------------------

function shown(row) {
  const [item, caption, about] = ["li", "span", "span"].map((tag) => document.createElement(tag));
  if (row.pictured) {
    const [box, image] = [document.createElement("span"), document.createElement("img")];
    box.className = "pic";
    image.loading = "lazy";
    image.alt = row.caption || row.name;
    image.src = `${address}/rows/${row.place}.webp`;
    box.append(image);
    item.append(box);
  }
  caption.className = "caption";
  caption.textContent = caption.title = row.caption || row.name;
  about.className = "judged";
  about.textContent = [row.label, `row ${row.row}`].filter(Boolean).join(" · ");
  item.append(caption, about);
  return item;
}

async function point(place) {
  if (!known.has(place)) {
    if (known.size > 2000) known = new Map();
    known.set(place, send(`${api}/rows`, { places: [place] }).then((found) => found.rows[0]));
  }
  const card = shown(await known.get(place));
  const only = document.createElement("ul");
  only.className = "hits";
  only.append(card);
  document.getElementById("near").replaceChildren(only);
}

async function list(places, quietly) {
  chosen = places;
  chart.setOption({ series: [marked()] });
  document.getElementById("list").replaceChildren();
  document.getElementById("chosen").hidden = !places.length;
  document.getElementById("count").textContent = `${places.length.toLocaleString("en")} ${places.length === 1 ? "row" : "rows"}`;
  if (!places.length) { if (!quietly) tell("No row is there."); return; }
  await more();
}

async function more() {
  const place = document.getElementById("list");
  const found = await send(`${api}/rows?skip=${place.childElementCount}`, { places: chosen });
  place.append(...found.rows.map(shown));
  place.ids = found.ids;
  document.getElementById("more").hidden = place.childElementCount >= chosen.length;
}

async function save() {
  const answer = await fetch(`${api}/table`, { method: "POST", body: JSON.stringify({ places: chosen }), headers: {
    "content-type": "application/json", "x-csrf-token": document.querySelector("meta[name=csrf]").content } });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = "rows.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

// ---- begin ------------------------------------------------------------------------------------------------------------

async function begin() {
  points = new Float32Array(await (await fetch(`${api}/points`)).arrayBuffer());
  chart = echarts.init(sheet);
  await recolour();
  let waiting;
  const found = ({ seriesIndex, dataIndex }) => groups[seriesIndex] && groups[seriesIndex].members[dataIndex] % count;
  chart.on("mousemove", { seriesType: "scatter" }, (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => point(found(event)), 60);
  });
  chart.on("click", { seriesType: "scatter" }, (event) => point(found(event)));
  const actions = { by: recolour, nearer: () => zoomBy(0.6), farther: () => zoomBy(1 / 0.6), whole: () => zoomBy(Infinity),
    view: () => list(inView()), more, save, clear: () => list([], true),
    copy: async () => { await navigator.clipboard.writeText(document.getElementById("list").ids.join("\n")); } };
  for (const [id, action] of Object.entries(actions)) {
    document.getElementById(id).addEventListener(id === "by" ? "change" : "click", action);
  }
  lassoed();
  new ResizeObserver(() => { chart.resize(); show(); }).observe(sheet);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  sheet.chart = chart;
}

document.addEventListener("DOMContentLoaded", begin);
