// A sound for each result, for those who look elsewhere: up for good, down for bad. Made here, so that nothing is loaded.

const TUNES = {
  "ship-it": [660, 880],
  waits: [440, 440],
  "scan-again": [660, 660],
  stopped: [330, 220, 330, 220],
  "set-aside": [330, 220, 330, 220],
  unknown: [330, 220],
  refused: [220],
};
const NOTE = 0.13;
const KEPT = "station-ui-sound";
const toggle = document.getElementById("sound");
let context = null;

function wanted() {
  return toggle.getAttribute("aria-checked") === "true";
}

/** Plays the tune of a result, when the operator wants to hear it. */
export function sound(result) {
  const tune = TUNES[result];
  if (!tune || !wanted()) return;
  // A browser lets nothing sound before somebody touched it: a scan is a touch.
  if (!navigator.userActivation?.hasBeenActive) return;
  context ??= new AudioContext();
  const begin = context.currentTime + 0.01;
  tune.forEach((pitch, place) => {
    const note = context.createOscillator();
    const loudness = context.createGain();
    note.frequency.value = pitch;
    loudness.gain.setValueAtTime(0.25, begin + place * NOTE);
    loudness.gain.exponentialRampToValueAtTime(0.001, begin + (place + 1) * NOTE);
    note.connect(loudness).connect(context.destination);
    note.start(begin + place * NOTE);
    note.stop(begin + (place + 1) * NOTE);
  });
  toggle.dataset.played = result;
}

export function start() {
  toggle.hidden = false;
  toggle.setAttribute("aria-checked", String(localStorage.getItem(KEPT) !== "off"));
  toggle.addEventListener("click", () => {
    toggle.setAttribute("aria-checked", String(!wanted()));
    localStorage.setItem(KEPT, wanted() ? "on" : "off");
    sound("ship-it");
  });
}
