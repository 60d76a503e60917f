// What every page needs: the token of changes, and messages of requests that failed.
"use strict";

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["x-csrf-token"] = document.querySelector("meta[name=csrf]").content;
});

// An answer that refuses is shown where it can be seen, wherever the part was meant to go.
document.addEventListener("htmx:responseError", (event) => {
  document.getElementById("told").innerHTML = event.detail.xhr.responseText;
});
document.addEventListener("htmx:sendError", () => tell("Accord does not answer: is it still running?"));
document.addEventListener("htmx:beforeRequest", () => { document.getElementById("told").textContent = ""; });

function tell(sentence) {
  const line = document.createElement("p");
  line.className = "notice";
  line.setAttribute("role", "alert");
  line.textContent = sentence;
  document.getElementById("told").replaceChildren(line);
}

// fetch with the token, for what is no form
async function send(address, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": document.querySelector("meta[name=csrf]").content },
    body: JSON.stringify(body),
  });
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({ detail: "This did not work." }));
    tell(said.detail);
    throw new Error(said.detail);
  }
  return answer.json();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
  button.textContent = "Copied";
});
