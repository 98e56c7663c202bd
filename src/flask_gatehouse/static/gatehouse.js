// Every page works without this script. It adds two comforts: a button that shows a password while it is typed, and a
// form that waits out `Retry-After` and sends itself again.
"use strict";

(() => {
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

  function addReveal(input) {
    const button = document.createElement("button");
    const show = (visible) => {
      input.type = visible ? "text" : "password";
      button.setAttribute("aria-pressed", String(visible));
    };
    button.type = "button";
    button.className = "gh-reveal";
    button.textContent = "Show";
    button.setAttribute("aria-label", `Show ${input.labels[0].textContent.trim().toLowerCase()}`);
    button.addEventListener("click", () => show(input.type === "password"));
    input.form.addEventListener("submit", () => show(false));
    input.after(button);
    show(false);
  }

  function countDown(element, seconds, whenOver) {
    const end = Date.now() + seconds * 1000;
    const tick = () => {
      const left = Math.ceil((end - Date.now()) / 1000);
      element.textContent = clock(Math.max(left, 0));
      if (left > 0) return;
      clearInterval(timer);
      whenOver();
    };
    const timer = setInterval(tick, 250);
    tick();
    return () => clearInterval(timer);
  }

  function retryByItself(form) {
    const problem = form.querySelector("[data-problem]");
    const waiting = form.querySelector("[data-waiting]");
    const [status, timer] = waiting.querySelectorAll("p");
    const submit = form.querySelector("[type=submit]");
    let stop = () => {};

    const settle = (text) => {
      stop();
      waiting.hidden = true;
      submit.disabled = false;
      problem.hidden = !text;
      problem.textContent = text;
    };
    waiting.querySelector("button").addEventListener("click", () => settle("Stopped. Nothing is sent any more."));

    async function send(filled) {
      const wanted = { method: "POST", body: filled, headers: { Accept: "application/json" } };
      const answer = await fetch(form.action, wanted).catch(() => null);
      const told = answer ? await answer.json().catch(() => ({})) : {};
      if (answer?.ok && told.next) {
        location.assign(told.next);
      } else if (answer?.status === 429 || answer?.status === 503) {
        status.textContent = `${told.detail ?? "The server is busy."} This page tries again by itself.`;
        waiting.hidden = false;
        stop = countDown(timer, Number(answer.headers.get("Retry-After")) || 2, () => send(filled));
      } else {
        const words = told.detail ?? Object.values(told.errors ?? {}).flat().join(" ");
        settle(words || "The server does not answer as expected. Reload the page and try again.");
      }
    }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const filled = new FormData(form);
      settle("");
      submit.disabled = true;
      send(filled);
    });
  }

  document.querySelectorAll("input[type=password]").forEach(addReveal);
  document.querySelectorAll("form[data-retry]").forEach(retryByItself);
  document.querySelectorAll("[data-retry-after]").forEach((element) => {
    countDown(element, Number(element.dataset.retryAfter), () => {});
  });
})();
