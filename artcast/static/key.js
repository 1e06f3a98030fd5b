// The page of a key: each value as it comes.

import { listen } from "./artcast.js";

const output = document.getElementById("value");
const state = document.getElementById("state");

function show(value) {
  const long = typeof value === "object" && value !== null;
  output.textContent = typeof value === "string" ? value : long ? lines(value) : JSON.stringify(value);
  output.dataset.size = long ? "list" : output.textContent.length > 12 ? "long" : "short";
  state.textContent = `since ${new Date().toLocaleTimeString()}`;
  state.dataset.kind = "";
}

// A list has a line for each of its items, so that a table of numbers looks like one.
function lines(value) {
  if (!Array.isArray(value)) return JSON.stringify(value, null, 2);
  return value.map((item) => (Array.isArray(item) ? item.join("   ") : JSON.stringify(item))).join("\n");
}

function away(reason) {
  state.textContent = `The server does not answer (${reason}). Trying again …`;
  state.dataset.kind = "away";
}

listen(output.dataset.key, show, away);
