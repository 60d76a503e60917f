const fingerprint = document.body.dataset.fingerprint;
const place = "accord-clean-" + fingerprint;
const cards = [...document.querySelectorAll(".one")];
let decisions = {};
try { decisions = JSON.parse(localStorage.getItem(place)) || {}; } catch { /* a browser may keep nothing */ }

function show() {
  for (const card of cards) pressed(card, decisions[card.dataset.row]);
  document.getElementById("progress").textContent = Object.keys(decisions).length + " of " + cards.length + " decided";
}

reviewing(() => cards, (card, said) => {
  if (said) decisions[card.dataset.row] = said; else delete decisions[card.dataset.row];
  try { localStorage.setItem(place, JSON.stringify(decisions)); } catch { /* saved by the button alone */ }
  show();
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
