// Rows of a table, made of text: nothing a station says becomes HTML.

/** An element. @param {...(Node|string)} children */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A cell. @param {Node|string|number} content */
export function cell(content, kind = "") {
  return element("td", kind ? { class: kind } : {}, content instanceof Node ? content : String(content ?? "–"));
}

/**
 * Fill a table.
 * @param {string} name of the table, in data-table
 * @param {Node[][]} rows cells
 * @param {boolean} more whether to keep the rows that are there
 */
export function fill(name, rows, more = false) {
  const body = document.querySelector(`[data-table="${name}"] tbody`);
  const made = rows.map((cells) => element("tr", {}, ...cells));
  if (more) body.append(...made);
  else body.replaceChildren(...made);
}

/** Seconds since 1970 as a time of day. */
export function clock(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "–" : date.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
}

/** A number of seconds as people say it. */
export function span(seconds) {
  const [days, hours, minutes] = [seconds / 86400, (seconds % 86400) / 3600, (seconds % 3600) / 60].map(Math.floor);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

/** A number with few digits. */
export function number(value) {
  return Number(value ?? 0).toLocaleString(undefined, { maximumFractionDigits: value < 10 ? 1 : 0 });
}
