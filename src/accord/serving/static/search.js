// The search form: files that are chosen, dropped or pasted become handles in it; a row opens over the answers.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("ask");
  const drop = document.getElementById("drop");
  const detail = document.getElementById("detail");

  // Without what is empty or usual, addresses stay short.
  form.addEventListener("submit", () => {
    form.querySelectorAll("input[name], select[name]").forEach((field) => {
      const usual = { strength: "1.0", k: "24" }[field.name];
      if (!field.value || field.value === usual || (usual && Number(field.value) === Number(usual))) field.disabled = true;
    });
  });
  // Another browser history entry comes back with its fields as they were.
  window.addEventListener("pageshow", () => form.querySelectorAll(":disabled").forEach((field) => { field.disabled = false; }));

  form.querySelectorAll("[data-again]").forEach((select) => select.addEventListener("change", () => {
    const data = form.querySelector("select[name=data]");
    if (select === data || data.value === "") form.querySelectorAll("[data-of-rows]").forEach((field) => field.remove());
    form.requestSubmit();
  }));

  async function take(file) {
    const busy = drop.querySelector(".busy");
    const body = new FormData();
    body.append("file", file);
    busy.hidden = false;
    try {
      const answer = await fetch(drop.dataset.upload, {
        method: "POST", body, headers: { "x-csrf-token": document.querySelector("meta[name=csrf]").content },
      });
      const type = answer.headers.get("content-type") || "";
      const said = type.includes("json") ? await answer.json() : { detail: await answer.text() };
      if (!answer.ok) { tell(said.detail); return; }
      form.querySelectorAll(`input[name=file][data-kind="${said.kind}"]`).forEach((field) => field.remove());
      const held = document.createElement("input");
      Object.assign(held, { type: "hidden", name: "file", value: said.handle });
      form.append(held);
      form.requestSubmit();
    } catch {
      tell("Accord does not answer: is it still running?");
    } finally {
      busy.hidden = true;
    }
  }

  if (drop) {
    drop.querySelectorAll("input[type=file]").forEach((input) => input.addEventListener("change", () => {
      if (input.files.length) take(input.files[0]);
    }));
    const over = (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("over", event.type !== "drop" && event.type !== "dragleave");
      if (event.type === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    };
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) document.addEventListener(kind, over);
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files][0];
      if (file) { event.preventDefault(); take(file); }
    });
  }

  detail.addEventListener("htmx:afterSwap", () => { if (!detail.open) detail.showModal(); });
  detail.addEventListener("click", (event) => {
    if (event.target === detail || event.target.closest("[data-close]")) detail.close();
  });
  detail.addEventListener("close", () => detail.replaceChildren()); // which ends what plays
});
