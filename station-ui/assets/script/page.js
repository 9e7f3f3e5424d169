// Live updates, focus, and a scan that does not leave the page. Everything else works without it.
import { start as clocks } from "./clocks.js";
import { start as focus } from "./focus.js";
import { start as language } from "./language.js";
import { start as renew } from "./renew.js";
import { start as scan } from "./scan.js";
import { start as sound } from "./sound.js";
import { follow } from "./stream.js";
import { start as supervise } from "./supervise.js";

clocks();
sound();
language();
if (document.getElementById("tiles")) {
  scan();
  follow();
} else {
  document.documentElement.dataset.page = "live";
  supervise();
  renew();
}
focus();
