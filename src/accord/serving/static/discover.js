// Found classes: names, mergers, marks and moves go to the server one by one, and may be taken back.
"use strict";

const chosen = () => [...document.querySelectorAll(".choose input:checked")];

function numberOf(name) {
  const option = [...document.querySelectorAll("#classes option")].find((each) => each.value === name);
  if (!option) tell(`There is no class “${name}”: choose one from the list.`);
  return option && Number(option.dataset.number);
}

function turned() { refresh(); }

function refreshed(page) {
  const about = page.getElementById("about");
  if (about) document.getElementById("about").replaceWith(about);
  choose();
}

function decide(body) {
  return inTurn(async () => {
    await change("decisions", body);
    await refresh();
  });
}

function choose() {
  const move = document.getElementById("move");
  if (!move) return;
  const count = chosen().length;
  move.querySelector("button").textContent = count ? `Move ${count}` : "Move";
  move.querySelector("button").disabled = !count;
}

document.addEventListener("change", choose);
document.addEventListener("submit", (event) => {
  const form = event.target;
  const sheet = form.closest("[data-number]");
  if (form.id === "move") {
    event.preventDefault();
    const name = form.elements.into.value.trim();
    const into = name ? numberOf(name) : null;
    const rows = chosen().map((box) => ({ row: Number(box.value), revision: Number(box.dataset.revision) }));
    if (into !== undefined && rows.length) decide({ change: "move", rows, into });
  } else if (form.dataset.change) {
    event.preventDefault();
    const body = { change: form.dataset.change, number: Number(sheet.dataset.number), revision: Number(sheet.dataset.revision) };
    const said = form.dataset.change === "rename" ? { name: form.elements.name.value.trim() }
      : form.dataset.change === "mark" ? { real: Boolean(form.elements.real.value) }
      : { into: form.elements.into.value ? numberOf(form.elements.into.value.trim()) : null };
    if (said.into !== undefined || form.dataset.change !== "merge") decide({ ...body, ...said });
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), select, textarea")) return;
  if (event.key === "z") turn("undo");
  else if (event.key === "y") turn("redo");
});
