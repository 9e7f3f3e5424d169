// Focus. The scanner is a keyboard: wherever the focus is, what it types belongs in the field.
import { choose, chosenFixture } from "./parts.js";

const field = document.getElementById("scanned");
let pointer = false;
let opened = false;
let before = "";

function back() {
  if (!opened) return;
  if (document.activeElement === document.body || document.activeElement === null) field.focus();
}

export function start() {
  addEventListener("keydown", (event) => {
    pointer = false;
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.key.length !== 1 || document.activeElement === field) return;
    // Space works a button or a choice that has the focus.
    if (event.key === " " && document.activeElement !== document.body) return;
    field.focus();
  }, true);
  addEventListener("pointerdown", () => {
    pointer = true;
    before = chosenFixture();
  }, true);
  addEventListener("focusout", () => setTimeout(back, 0));
  addEventListener("focus", back);
  addEventListener("click", (event) => {
    setTimeout(back, 0);
    const input = event.target;
    if (!(input instanceof HTMLInputElement) || input.type !== "radio" || input.name !== "fixture" || !pointer) return;
    // A tap on the chosen tile takes the choice back.
    if (input.value !== "" && input.value === before) choose("");
    before = "";
    field.focus();
  });
  addEventListener("change", (event) => {
    if (event.target.id === "lot" && pointer) field.focus();
  });
  // The browser's own `autofocus` comes first; it complains when it finds its work done.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    opened = true;
    back();
  }));
}
