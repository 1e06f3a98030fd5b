// The last message of each topic, with its picture.

import { ask } from "./poll.js";
import { webAddress } from "./station.js";
import { cell, clock, element, fill } from "./table.js";

const PAUSE = 5000; // milliseconds
const LIMIT = 50;

/** Look for topics when the form is sent, and keep the first page of them up to date. */
export function search() {
  const form = document.getElementById("topics-search");
  const more = document.getElementById("topics-more");
  const count = document.getElementById("topics-count");
  let next = null;
  let pages = 1;

  async function show(after = "") {
    try {
      const answer = await ask("/api/topics", { prefix: form.elements.prefix.value.trim(), after, limit: LIMIT });
      fill("topics", answer.topics.map(row), Boolean(after));
      next = answer.next;
      more.hidden = next === null;
      count.textContent = `${answer.total} topics`;
    } catch (error) {
      count.textContent = error.message;
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    pages = 1;
    show();
  });
  more.addEventListener("click", () => {
    pages += 1;
    show(next);
  });
  setInterval(() => pages === 1 && !document.hidden && show(), PAUSE);
  show();
}

function row({ topic, clients, last }) {
  const listeners = Object.entries(clients).map(([protocol, number]) => `${number} ${protocol}`).join(", ");
  return [
    cell(picture(topic, last)),
    cell(topic),
    cell(last?.body ?? "–"),
    cell(last ? clock(last.when) : "–", "time"),
    cell(listeners || "–"),
  ];
}

function picture(topic, last) {
  const address = last?.body.startsWith("SHOW ") ? webAddress(last.body.slice(5).trim()) : null;
  if (address === null) return "";
  return element("img", { src: address, alt: `Slide of ${topic}`, width: "80", height: "60", loading: "lazy" });
}
