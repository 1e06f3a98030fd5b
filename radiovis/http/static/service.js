import { live, pausable } from "./live.js";
import { keepTime, Station } from "./station.js";

const SPEED = 60; // pixels a second: about what a car radio does

const radio = document.querySelector(".radio");
const station = new Station(radio);
const line = radio.querySelector(".text");
const show = pausable(document.getElementById("pause"));
const service = radio.dataset.service.split("/").map(encodeURIComponent).join("/");

live(
  `/events/${service}`,
  {
    image: (data) => show("image", () => station.slide(data)),
    text: (data) => show("text", () => (station.say(data), scroll())),
  },
  document.getElementById("state"),
);
keepTime();
scroll();
new ResizeObserver(scroll).observe(line);
document.fonts.ready.then(scroll);

/** A text that is too long for its line runs through it, as on a radio. */
function scroll() {
  const text = line.firstElementChild;
  const over = text.scrollWidth - line.clientWidth;
  line.classList.toggle("runs", over > 0);
  text.style.setProperty("--way", `${-over}px`);
  text.style.setProperty("--time", `${over / SPEED + 4}s`);
}
