import { live, pausable } from "./live.js";
import { keepTime, Station } from "./station.js";

const SPREAD = 5000; // milliseconds over which the pages of all viewers are loaded anew

const stations = new Map();
for (const card of document.querySelectorAll(".card")) stations.set(card.dataset.service, new Station(card));

const show = pausable(document.getElementById("pause"));
let reloading = false;

live(
  "/events",
  {
    image: (data) => show(`${data.service} image`, () => stations.get(data.service)?.slide(data)),
    text: (data) => show(`${data.service} text`, () => stations.get(data.service)?.say(data)),
    stations: ({ version }) => {
      if (version === document.body.dataset.version || reloading) return;
      reloading = true;
      setTimeout(() => location.reload(), Math.random() * SPREAD);
    },
  },
  document.getElementById("state"),
);
keepTime();
