// Replaces the main part of the page by a new one from time to time. Without this script the link "Reload" does it.
"use strict";
(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const button = document.createElement("button");
  const note = document.createElement("span");
  let paused = false;
  button.type = "button";
  button.append("Pause");
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    note.textContent = paused ? "paused" : live.dataset.text;
  });
  note.append(live.dataset.text);
  live.append(note, " ", button);

  const isBusy = () => paused || document.hidden || !getSelection().isCollapsed;

  function show(page) {
    const main = document.querySelector("main");
    const next = page.querySelector("main");
    if (!next) throw new Error("no page");
    const open = [...main.querySelectorAll("details[open][id]")].map((each) => each.id);
    const focus = main.contains(document.activeElement) ? document.activeElement.id : "";
    main.replaceWith(next);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
    document.title = page.title;
    for (const part of ["link[rel=icon]", "#now"]) {
      const [old, fresh] = [document.querySelector(part), page.querySelector(part)];
      if (old && fresh) old.replaceWith(fresh);
    }
  }

  async function update() {
    if (isBusy()) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      document.body.classList.remove("outdated");
      note.textContent = live.dataset.text;
    } catch {
      document.body.classList.add("outdated");
      note.textContent = "no connection: this page is old";
    }
  }

  setInterval(update, 1000 * Number(live.dataset.seconds));
  document.addEventListener("visibilitychange", update);
})();
