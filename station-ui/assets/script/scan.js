// The scan. One after the other, in the order in which they came: a fast hand must lose none.
import { choose, replace } from "./parts.js";
import { sound } from "./sound.js";

const field = document.getElementById("scanned");
const form = document.getElementById("scan");
const notice = document.getElementById("notice");
let scans = Promise.resolve();
let last = "";

function show(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const [said, ...parts] = template.content.children;
  if (said?.dataset.tone === undefined) throw new Error(html);
  notice.replaceChildren(said);
  for (const part of parts) replace(part.outerHTML);
}

function unsent(body) {
  notice.replaceChildren(document.getElementById("unsent").content.cloneNode(true));
  const said = notice.firstElementChild;
  said.querySelector(".scanned").textContent = body.get("scanned");
  said.dataset.fixture = body.get("fixture") ?? "";
}

async function post(action, body) {
  return fetch(action, {
    method: "POST",
    body,
    credentials: "same-origin",
    signal: AbortSignal.timeout(15000),
  });
}

async function send(body) {
  try {
    const answer = await post(form.action, body);
    show(await answer.text());
  } catch {
    unsent(body);
  }
  const said = notice.firstElementChild;
  choose(said.dataset.fixture);
  if (said.dataset.tone === "bad") sound("refused");
  // So that Enter tries again, and the next scan writes over it. Not while the next one is being typed.
  if (said.dataset.tone === "bad" && field.value === "" && last === body.get("scanned")) {
    field.value = last;
    field.select();
  }
}

export function start() {
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
  // The tile changes by the stream; the page stays.
  document.getElementById("acknowledge").addEventListener("submit", (event) => {
    event.preventDefault();
    const body = new URLSearchParams(new FormData(event.target, event.submitter));
    body.set("live", "1");
    field.focus();
    post(event.target.action, body).catch(() => unsent(body));
  });
}
