// The review of doubted rows: decisions go to the server one by one, and may be taken back.
"use strict";

const shown = () => [...document.querySelectorAll(".one")];
const find = (row) => document.querySelector(`.one[data-row="${row}"]`);

function progress(state) {
  const line = document.getElementById("progress");
  line.textContent = `${state.decided.toLocaleString("en").replaceAll(",", "\u202f")} of ${line.textContent.split(" of ")[1]}`;
  document.getElementById("done").value = state.decided;
}

function put(row) {
  const card = find(row.row);
  if (!card) return;
  card.dataset.revision = row.revision;
  const other = row.decision && typeof row.decision === "object";
  pressed(card, other ? "instead" : row.decision);
  const line = card.querySelector(".instead");
  if (line) {
    line.hidden = !other;
    line.textContent = other ? `Instead: ${Object.values(row.decision).filter(Boolean).join("; ")}` : "";
  }
}

function say(card, decision) {
  const other = decision && typeof decision === "object";
  pressed(card, other ? "instead" : decision); // at once; what the server answers is put over it
  return inTurn(async () => {
    const row = Number(card.dataset.row);
    const said = [{ row, decision: decision || null, revision: Number(find(row).dataset.revision) }];
    const state = await change("decisions", { decisions: said });
    stand(state);
    progress(state);
    state.rows.forEach(put);
    count();
  });
}

function turned(state) {
  progress(state);
  const here = state.rows.filter((row) => find(row.row));
  here.forEach(put);
  if (here.length && state.rows.length < 100) find(here[0].row).focus(); else refresh();
  count();
}

function refreshed(page) {
  for (const id of ["progress", "done"]) document.getElementById(id).replaceWith(page.getElementById(id));
  count();
}

function edit(card, open) {
  const form = card.querySelector(".edit");
  if (!form) return;
  form.hidden = open === undefined ? !form.hidden : !open;
  card.querySelector("[data-edit]").setAttribute("aria-expanded", String(!form.hidden));
  if (form.hidden) card.focus(); else form.querySelector("input").focus();
}

reviewing(shown, say, {
  z: () => turn("undo"),
  y: () => turn("redo"),
  e: (card) => card && edit(card),
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-edit]");
  if (button) edit(button.closest(".one"));
});

document.addEventListener("submit", (event) => {
  const card = event.target.closest(".one");
  if (!card) return;
  event.preventDefault();
  const said = Object.fromEntries([...new FormData(event.target)].map(([name, text]) => [name, text.trim()]));
  const instead = Object.fromEntries(Object.entries(said).filter(([, text]) => text));
  if (!Object.keys(instead).length) return tell("Say what is right, or accept, reject or drop the row.");
  say(card, instead);
  edit(card, false);
});

document.addEventListener("keydown", (event) => {
  const form = event.target.closest(".edit");
  if (form && event.key === "Escape") edit(form.closest(".one"), false);
});

// ---- many at once ---------------------------------------------------------------------------------------------------

const all = document.getElementById("all");
const button = all.querySelector("button");
let offered = 0;

function asked() { return { reason: all.dataset.reason, label: all.dataset.label, text: all.dataset.text, doubt: Number(all.doubt.value) }; }

async function count() {
  const answer = await fetch(`${desk().dataset.api}/all?${new URLSearchParams(asked())}`);
  offered = answer.ok ? (await answer.json()).rows : 0;
  button.textContent = `${all.decision.selectedOptions[0].textContent} ${offered.toLocaleString("en").replaceAll(",", "\u202f")} rows`;
  button.disabled = !offered;
}

all.addEventListener("input", count);
all.addEventListener("submit", (event) => {
  event.preventDefault();
  inTurn(async () => {
    const done = await change("all", { ...asked(), decision: all.decision.value, expected: offered });
    await refresh();
    note(`${all.decision.value}: ${done.rows} rows`);
  });
});
count();
