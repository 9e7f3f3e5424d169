// The parts that the server replaces, and what must survive that: choices, focus, and what a screen reader hears.
import { wind } from "./clocks.js";
import { sound } from "./sound.js";

const announced = document.getElementById("announced");

/** The fixture that is chosen for the next scan; empty: none. */
export function chosenFixture() {
  return document.querySelector('input[name="fixture"]:checked')?.value ?? "";
}

/** Chooses a fixture, or none. */
export function choose(fixture) {
  const all = [...document.querySelectorAll('input[name="fixture"]')];
  (all.find((one) => one.value === fixture) || document.getElementById("any")).checked = true;
}

/** Puts a part of the page in the place of the one that stands there. */
export function replace(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const part = template.content.firstElementChild;
  const old = part && document.getElementById(part.id);
  if (!old) return;
  const fixture = chosenFixture();
  const lot = old.querySelector("select")?.value;
  const had = old.contains(document.activeElement) && document.activeElement.id;
  wind(part);
  // The tile goes; the radio beside it stays, and with it the choice.
  old.replaceWith(part);
  if (part.id === "tiles") {
    choose(fixture);
    document.getElementById("any-fixture").hidden = part.querySelectorAll(".place").length < 2;
  }
  const select = part.querySelector("select");
  if (select && lot && [...select.options].some((option) => option.value === lot)) select.value = lot;
  if (had) (document.getElementById(had) || document.getElementById("scanned")).focus();
  if (part.dataset.result !== undefined && part.dataset.kind !== old.dataset.kind) {
    announce(part);
    // What stood there before the page lost sight of it is no news.
    if (!old.classList.contains("stale")) sound(part.dataset.kind);
  }
  if (part.id === "station") document.title = part.querySelector(".name").textContent;
}

function announce(tile) {
  const words = (name) => tile.querySelector(name)?.textContent ?? "";
  announced.textContent = [".fixture", ".headline", ".serial", ".next"].map(words).join(". ");
}
