// The stream. Silence means that nobody is there: then nothing on the screen counts as current.
import { replace } from "./parts.js";

const SILENCE_MOST = 10000;
let stream = null;
let heard = performance.now();
let retry = null;

function alive() {
  heard = performance.now();
}

function live(is) {
  document.documentElement.dataset.page = is ? "live" : "lost";
  document.getElementById("page-lost").hidden = is;
}

function lost() {
  live(false);
  stream?.close();
  stream = null;
  retry ??= setTimeout(connect, 1000);
}

function connect() {
  clearTimeout(retry);
  retry = null;
  stream?.close();
  stream = new EventSource("/events");
  alive();
  stream.addEventListener("token", (event) => {
    alive();
    live(true);
    // The page's server may have begun anew: its forms go by its new token.
    if (event.data) for (const field of document.getElementsByName("token")) field.value = event.data;
  });
  stream.addEventListener("part", (event) => {
    alive();
    replace(event.data);
  });
  stream.addEventListener("beat", alive);
  stream.onerror = lost;
}

export function follow() {
  setInterval(() => {
    if (stream && performance.now() - heard > SILENCE_MOST) lost();
  }, 1000);
  // A navigation is no loss.
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => event.persisted && connect());
  connect();
}
