// A supervisor's badge by scan and PIN by the pad. What a scanner types goes to the field above, wherever the focus is: the
// PIN has no field that could take it.
const form = document.getElementById("supervise");
const LEAST = 6;
const MOST = 32;
let pin = "";

function show() {
  document.getElementById("pin").value = pin;
  document.getElementById("pin-shown").textContent = "•".repeat(pin.length);
  const said = document.getElementById("pin-said");
  said.textContent = said.dataset.words.replace("#", pin.length);
  document.getElementById("decide").disabled = pin.length < LEAST || document.getElementById("badge").value === "";
}

function press(event) {
  const key = event.target.closest("button[type=button]");
  if (!key) return;
  pin = key.value === "" ? "" : (pin + key.value).slice(0, MOST);
  show();
}

/** A scan that is a badge is the supervisor's, one of a fixture says where; anything else is a scan as everywhere. */
function scanned(event) {
  const field = document.getElementById("scanned");
  const code = field.value.trim();
  const fixture = form.dataset.fixturePrefix;
  const places = document.getElementById("at-fixture");
  if (places && code.startsWith(fixture)) {
    event.preventDefault();
    field.value = "";
    const name = code.slice(fixture.length).trim();
    if ([...places.options].some((option) => option.value === name)) places.value = name;
    return;
  }
  const prefix = form.dataset.badgePrefix;
  if (!code.startsWith(prefix)) return;
  event.preventDefault();
  const badge = field.value.trim().slice(prefix.length).trim();
  field.value = "";
  document.getElementById("badge").value = badge;
  document.getElementById("badge-shown").textContent = badge;
  // Another badge, another PIN.
  pin = "";
  show();
  document.querySelector("#pad button").focus();
}

export function start() {
  if (!form) return;
  document.getElementById("pad").addEventListener("click", press);
  document.getElementById("scan").addEventListener("submit", scanned);
  // Nothing of it stays for whoever goes back to this page.
  addEventListener("pagehide", () => {
    pin = "";
    show();
  });
  show();
}
