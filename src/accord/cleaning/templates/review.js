"use strict";
const fingerprint = document.body.dataset.fingerprint;
const place = "accord-clean-" + fingerprint;
const cards = [...document.querySelectorAll(".one")];
const words = { a: "accept", r: "reject", d: "drop" };
let decisions = {};
try { decisions = JSON.parse(localStorage.getItem(place)) || {}; } catch { /* a browser may keep nothing */ }

function show() {
  for (const card of cards) {
    const said = decisions[card.dataset.row];
    if (said) card.dataset.said = said; else delete card.dataset.said;
    for (const button of card.querySelectorAll("[data-say]")) {
      button.setAttribute("aria-pressed", String(button.dataset.say === said));
    }
  }
  document.getElementById("progress").textContent = Object.keys(decisions).length + " of " + cards.length + " decided";
}

function decide(card, said) {
  if (said) decisions[card.dataset.row] = said; else delete decisions[card.dataset.row];
  try { localStorage.setItem(place, JSON.stringify(decisions)); } catch { /* saved by the button alone */ }
  show();
}

function step(from, by) {
  for (let at = from + by; at >= 0 && at < cards.length; at += by) {
    if (cards[at].offsetParent !== null) return cards[at].focus();
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-say]");
  if (button) decide(button.closest(".one"), button.getAttribute("aria-pressed") === "true" ? "" : button.dataset.say);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = cards.indexOf(document.activeElement && document.activeElement.closest(".one"));
  if (event.key === "j") step(at, 1);
  else if (event.key === "k") step(at < 0 ? cards.length : at, -1);
  else if (at >= 0 && event.key === "u") decide(cards[at], "");
  else if (at >= 0 && event.key in words) {
    const say = words[event.key] === "drop" && !cards[at].querySelector('[data-say="drop"]') ? "accept" : words[event.key];
    decide(cards[at], say);
    step(at, 1);
  }
});

document.getElementById("open").addEventListener("change", (event) => {
  document.body.classList.toggle("undecided-only", event.target.checked);
});

document.getElementById("save").addEventListener("click", () => {
  const file = new Blob([JSON.stringify({ fingerprint, decisions }, null, 1)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = "decisions.json";
  link.click();
  URL.revokeObjectURL(link.href);
});

show();
