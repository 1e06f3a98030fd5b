// What was on a topic, and when.

import { ask } from "./poll.js";
import { cell, clock, fill } from "./table.js";

const LATELY = 3600000; // milliseconds: what one mostly wants to see of it

/** Look into the journal when the form is sent; the link beside it has the same as a file. */
export function search() {
  const form = document.getElementById("journal-search");
  const more = document.getElementById("journal-more");
  const count = document.getElementById("journal-count");
  const file = document.getElementById("journal-csv");
  let place = null;
  let shown = 0;

  async function show(after = "") {
    try {
      const answer = await ask("/api/journal", { ...selection(form), after });
      shown = (after ? shown : 0) + answer.records.length;
      fill("records", answer.records.map(row), Boolean(after));
      place = answer.next;
      more.hidden = answer.records.length === 0 || place === null;
      count.textContent = `${shown} entries${more.hidden ? "" : ", perhaps more"}`;
    } catch (error) {
      count.textContent = error.message;
    }
  }

  const lead = () => {
    file.href = `/journal.csv?${new URLSearchParams(selection(form))}`;
  };
  form.elements.from.value = local(Date.now() - LATELY);
  form.addEventListener("input", lead);
  lead();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  more.addEventListener("click", () => show(place));
}

/** What the form says; times are the reader's own, the server's are UTC. */
function selection(form) {
  const chosen = { topic: form.elements.topic.value.trim() || "*" };
  for (const name of ["from", "to"]) {
    const time = new Date(form.elements[name].value);
    if (!Number.isNaN(time.getTime())) chosen[name] = String(Math.floor(time.getTime() / 1000));
  }
  return chosen;
}

/** A time as the fields have it: the reader's own, without a zone. */
function local(milliseconds) {
  const date = new Date(milliseconds);
  return new Date(milliseconds - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

function row({ timestamp, topic, body, headers }) {
  const pairs = headers.map(([name, value]) => `${name}: ${value}`).join(", ");
  return [cell(clock(timestamp), "time"), cell(topic), cell(body), cell(pairs || "–")];
}
