// Keeps the live part of a page up to date. Without this file the pages work as well: reload them.
"use strict";

const part = () => document.querySelector("[data-live]");

async function refresh() {
  const answer = await fetch(location.href, { credentials: "same-origin" });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = part();
  const next = page.querySelector("[data-live]");
  // An approval that still waits stays as it is: somebody may be writing a comment.
  if (!next || (now.dataset.state && now.dataset.state === next.dataset.state)) return;
  const focused = document.activeElement && document.activeElement.id;
  now.replaceWith(next);
  if (focused) document.getElementById(focused)?.focus();
  document.getElementById("said").textContent = next.dataset.state
    ? next.innerText
    : `The list has changed: ${next.querySelectorAll("li").length} approvals are shown.`;
}

if (part()) {
  let busy = false;
  let again = false;
  const changed = async () => {
    again = true;
    if (busy) return;
    busy = true;
    while (again) {
      again = false;
      await refresh().catch(() => {});
    }
    busy = false;
  };
  const source = new EventSource(part().dataset.live);
  source.addEventListener("change", changed);
  source.addEventListener("open", changed); // what happened while there was no connection
  addEventListener("pagehide", () => source.close());
}
