"use strict";
// What all pages have: links that open cells, copying. A page can be read without them.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
for (const each of all(".tools[hidden], .copy[hidden]")) each.hidden = false;

// --- a link to a cell opens it
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  const cell = target.closest("details.cell");
  if (!cell) return;
  cell.hidden = cell.closest(".group").hidden = false;
  cell.scrollIntoView({ block: "start" });
  target.focus({ preventScroll: true });
}
addEventListener("hashchange", reveal);
// a second click on the same link does not change the hash
addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (link && link.hash === location.hash) reveal();
});

// --- copying, also from file:// and without access to the clipboard
async function copy(text, source) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return document.execCommand("copy");
  }
}
addEventListener("click", async (event) => {
  const button = event.target.closest?.(".copy");
  if (!button) return;
  const source = button.parentElement.querySelector("code");
  const done = await copy(source.textContent, source);
  const face = button.firstChild;
  face.data = done ? "Copied" : "Selected";
  setTimeout(() => { face.data = "Copy"; }, 1500);
});
