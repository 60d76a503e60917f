// Steps with a way back, on the pages where something is decided. Changes go one after the other, in the order made.
"use strict";

let queue = Promise.resolve();

function desk() { return document.getElementById("desk"); }

function inTurn(work) {
  queue = queue.then(work).catch(() => refresh()); // what was refused is told; the page then shows what holds
  return queue;
}

// where the decisions stand, from any answer that says it
function stand(state) {
  desk().dataset.head = state.head;
  for (const button of desk().querySelectorAll("[data-turn]")) {
    const what = state[button.dataset.turn];
    button.disabled = !what;
    button.title = what || "";
  }
}

function change(path, body) { return send(`${desk().dataset.api}/${path}`, body); }

// undo or redo, with what the page has seen last
function turn(word) {
  return inTurn(async () => {
    const button = desk().querySelector(`[data-turn="${word}"]`);
    if (button.disabled) return;
    const what = button.title;
    const state = await change(word, { head: Number(desk().dataset.head) });
    stand(state);
    turned(state);
    note(`${word === "undo" ? "Undone" : "Done again"}: ${what}`);
  });
}

function note(sentence) {
  const line = document.createElement("p");
  line.className = "done";
  line.textContent = sentence;
  document.getElementById("told").replaceChildren(line);
  setTimeout(() => line.remove(), 4000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-turn]");
  if (button) turn(button.dataset.turn);
});

// Show anew what the page shows, such as after a change of many rows.
async function refresh() {
  const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  for (const id of ["desk", "rows"]) {
    const found = page.getElementById(id);
    if (found) document.getElementById(id).replaceWith(found);
  }
  refreshed(page);
}
