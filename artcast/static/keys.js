// The table of keys: read again every 5 s, and drawn again when it has changed.

import { address } from "./artcast.js";

const EVERY = 5000;
const body = document.getElementById("keys");
const state = document.getElementById("state");
let drawn = "";

function link(text, url, rel) {
  const element = document.createElement("a");
  element.textContent = text;
  element.href = url;
  if (rel) element.rel = rel;
  return element;
}

function license({ uri, title } = {}) {
  const text = title || uri || "";
  return /^https?:\/\//.test(uri ?? "") ? link(text, uri, "license") : text;
}

function row(entry) {
  const line = document.createElement("tr");
  const key = document.createElement("th");
  key.scope = "row";
  key.append(link(entry.key || "(empty)", address(entry.key).pathname));
  line.append(key);
  for (const content of [entry.description ?? "", entry.provenance ?? "", license(entry.license ?? {})]) {
    const cell = document.createElement("td");
    cell.append(content);
    line.append(cell);
  }
  return line;
}

async function refresh() {
  try {
    const answer = await fetch("/artcasts", { headers: { accept: "application/json" }, cache: "no-store" });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const text = await answer.text();
    if (text !== drawn) draw(JSON.parse(text));
    drawn = text;
  } catch (error) {
    state.textContent = `The server does not answer (${error.message}).`;
    state.dataset.kind = "away";
    drawn = "";
  }
  setTimeout(refresh, EVERY);
}

function draw(entries) {
  body.replaceChildren(...entries.map(row));
  document.getElementById("none").hidden = entries.length > 0;
  state.textContent = `${entries.length} keys`;
  state.dataset.kind = "";
}

refresh();
