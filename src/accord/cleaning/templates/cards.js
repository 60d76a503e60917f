// Cards that are decided on by mouse and by keys, and moved between: what both review pages share.
"use strict";

// cards(): those on the page; decide(card, said): a word, or "" for none; keys: what others do, given the card or none
function reviewing(cards, decide, keys = {}) {
  const words = { a: "accept", r: "reject", d: "drop", u: "" };
  const moves = { j: 1, ArrowDown: 1, ArrowRight: 1, k: -1, ArrowUp: -1, ArrowLeft: -1 };

  function step(from, by) {
    const all = cards();
    for (let at = from + by; at >= 0 && at < all.length; at += by) {
      if (all[at].offsetParent !== null) return all[at].focus();
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-say]");
    if (button) decide(button.closest(".one"), button.getAttribute("aria-pressed") === "true" ? "" : button.dataset.say);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const all = cards();
    const at = all.indexOf(document.activeElement && document.activeElement.closest(".one"));
    if (event.key in moves && (at >= 0 || event.key.length === 1)) {
      event.preventDefault();
      step(at < 0 && moves[event.key] < 0 ? all.length : at, moves[event.key]);
    } else if (event.key in keys) {
      event.preventDefault();
      keys[event.key](all[at]);
    } else if (at >= 0 && event.key in words) {
      const drops = all[at].querySelector('[data-say="drop"]');
      decide(all[at], words[event.key] === "drop" && !drops ? "accept" : words[event.key]);
      if (words[event.key]) step(at, 1);
    }
  });
}

function pressed(card, said) {
  if (said) card.dataset.said = said; else delete card.dataset.said;
  for (const button of card.querySelectorAll("[data-say]")) {
    button.setAttribute("aria-pressed", String(button.dataset.say === said));
  }
}
