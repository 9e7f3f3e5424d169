// Clocks run on from what the server rendered, so that the browser's own time does not matter.

function written(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** Sets the clocks in an element to now. */
export function wind(within) {
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

export function start() {
  wind(document);
  setInterval(tick, 250);
}
