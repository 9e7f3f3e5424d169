// A choice of language is one tap, and none to confirm it. With keys, each arrow is a change already: Enter takes the choice, and
// whoever goes on without it leaves it as it was.

export function start() {
  const choice = document.getElementById("choose-language");
  const shown = choice.value;
  let stepping = false;
  choice.addEventListener("pointerdown", () => (stepping = false));
  choice.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && choice.value !== shown) {
      event.preventDefault();
      choice.form.requestSubmit();
    }
    stepping = event.key.startsWith("Arrow") || ["Home", "End", "PageUp", "PageDown"].includes(event.key);
  });
  choice.addEventListener("change", () => stepping || choice.form.requestSubmit());
  choice.addEventListener("blur", () => (choice.value = shown));
}
