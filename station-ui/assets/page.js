// Live updates, focus, and a scan that does not leave the page. Everything else works without this file.
"use strict";

const field = document.getElementById("scanned");
const form = document.getElementById("scan");
const notice = document.getElementById("notice");
const announced = document.getElementById("announced");
const root = document.documentElement;

// --- Clocks run on from what the server rendered, so that the browser's own time does not matter.

function written(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const rest = `${two(seconds % 60)}`;
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

function wind(within) {
  for (const clock of within.querySelectorAll("[data-elapsed]")) {
    clock.began = performance.now() - Number(clock.dataset.elapsed);
  }
}

function tick() {
  for (const clock of document.querySelectorAll("[data-elapsed]")) {
    const text = written(performance.now() - clock.began);
    if (clock.textContent !== text) clock.textContent = text;
  }
}

wind(document);
setInterval(tick, 250);

// --- The parts that the server replaces.

function chosenFixture() {
  const chosen = document.querySelector('input[name="fixture"]:checked');
  return chosen ? chosen.value : "";
}

function choose(fixture) {
  const all = [...document.querySelectorAll('input[name="fixture"]')];
  (all.find((one) => one.value === fixture) || document.getElementById("any")).checked = true;
}

function replace(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const part = template.content.firstElementChild;
  const old = part && document.getElementById(part.id);
  if (!old) return;
  const fixture = chosenFixture();
  const lot = old.querySelector("select")?.value;
  const had = old.contains(document.activeElement) && document.activeElement.id;
  wind(part);
  // The label's own attributes go with it; the radio beside it stays, and with it the choice.
  old.replaceWith(part);
  if (part.id === "tiles") {
    choose(fixture);
    document.getElementById("any-fixture").hidden = part.querySelectorAll(".place").length < 2;
  }
  const select = part.querySelector("select");
  if (select && lot && [...select.options].some((option) => option.value === lot)) select.value = lot;
  if (had) (document.getElementById(had) || field).focus();
  if (part.dataset.result !== undefined && part.dataset.kind !== old.dataset.kind) announce(part);
  if (part.id === "station") document.title = part.querySelector(".name").textContent;
}

function announce(tile) {
  const words = (name) => tile.querySelector(name)?.textContent ?? "";
  announced.textContent = [".fixture", ".headline", ".serial", ".next"].map(words).join(". ");
}

// --- The stream. Silence means that nobody is there: then nothing on the screen counts as current.

const SILENCE_MOST = 10000;
let stream = null;
let heard = performance.now();
let retry = null;

function alive() {
  heard = performance.now();
}

function live(is) {
  root.dataset.page = is ? "live" : "lost";
  document.getElementById("page-lost").hidden = is;
}

function follow() {
  clearTimeout(retry);
  retry = null;
  if (stream) stream.close();
  stream = new EventSource("/events");
  alive();
  stream.addEventListener("token", (event) => {
    alive();
    live(true);
    if (event.data) document.getElementById("token").value = event.data;
  });
  stream.addEventListener("part", (event) => {
    alive();
    replace(event.data);
  });
  stream.addEventListener("beat", alive);
  stream.onerror = lost;
}

function lost() {
  live(false);
  if (stream) stream.close();
  stream = null;
  if (!retry) retry = setTimeout(follow, 1000);
}

setInterval(() => {
  if (stream && performance.now() - heard > SILENCE_MOST) lost();
}, 1000);
// A navigation is no loss.
addEventListener("pagehide", () => stream && stream.close());
addEventListener("pageshow", (event) => event.persisted && follow());
follow();

// --- The scan. One after the other, in the order in which they came: a fast hand must lose none.

let scans = Promise.resolve();
let last = "";

async function send(body) {
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body,
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(15000),
    });
    const html = await answer.text();
    if (!html.includes("data-tone")) throw new Error(answer.statusText);
    notice.innerHTML = html;
  } catch {
    notice.replaceChildren(document.getElementById("unsent").content.cloneNode(true));
    const said = notice.firstElementChild;
    said.querySelector(".scanned").textContent = body.get("scanned");
    said.dataset.fixture = body.get("fixture") ?? "";
  }
  const said = notice.firstElementChild;
  choose(said.dataset.fixture);
  // So that Enter tries again, and the next scan writes over it. Not while the next one is being typed.
  if (said.dataset.tone === "bad" && field.value === "" && last === body.get("scanned")) {
    field.value = last;
    field.select();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (field.value.trim() === "") return;
  const body = new URLSearchParams(new FormData(form));
  body.set("live", "1");
  last = field.value;
  field.value = "";
  field.focus();
  scans = scans.then(() => send(body));
});

// --- Focus. The scanner is a keyboard: wherever the focus is, what it types belongs in the field.

let pointer = false;

addEventListener("keydown", (event) => {
  pointer = false;
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.key.length !== 1 || document.activeElement === field) return;
  // Space works a button or a choice that has the focus.
  if (event.key === " " && document.activeElement !== document.body) return;
  field.focus();
}, true);

addEventListener("pointerdown", () => { pointer = true; }, true);

let opened = false;

function back() {
  if (!opened) return;
  if (document.activeElement === document.body || document.activeElement === null) field.focus();
}
addEventListener("focusout", () => setTimeout(back, 0));
addEventListener("focus", back);
addEventListener("click", () => setTimeout(back, 0));

// A tap on the chosen tile takes the choice back.
let before = "";
addEventListener("pointerdown", () => { before = chosenFixture(); }, true);
addEventListener("click", (event) => {
  const input = event.target;
  if (!(input instanceof HTMLInputElement) || input.type !== "radio" || !pointer) return;
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
