// A page besides the board asks for itself anew, so that nobody reads old figures as new ones.
const EVERY = 5000;

async function renew() {
  const content = document.getElementById("content");
  if (content?.dataset.renewed === undefined) return;
  const lost = document.getElementById("page-lost");
  try {
    const answer = await fetch(location.href, { credentials: "same-origin", signal: AbortSignal.timeout(EVERY) });
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("content");
    // Not under somebody's finger.
    if (!content.contains(document.activeElement)) content.replaceWith(document.adoptNode(fresh));
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
}

export function start() {
  setInterval(renew, EVERY);
}
