// A choice of language is one tap, and none to confirm it.

export function start() {
  document.getElementById("choose-language").addEventListener("change", (event) => event.target.form.requestSubmit());
}
