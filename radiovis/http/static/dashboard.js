import { Chart } from "./chart.js";
import { search as searchJournal } from "./journal.js";
import { ask, keep } from "./poll.js";
import { search as searchTopics } from "./topics.js";
import { cell, clock, element, fill, number, span } from "./table.js";

const PAUSE = 2000; // milliseconds between two looks

const chart = new Chart(document.getElementById("rates"));
let started = 0;

function put(id, text) {
  const place = document.getElementById(id);
  if (place.textContent !== text) place.textContent = text;
}

function figures(overview) {
  const { rates } = overview;
  put("clients", number(overview.clients.total));
  put("messages", number(rates.messages.at(-1) ?? chart.data[1].at(-1)));
  put("deliveries", number(rates.deliveries.at(-1) ?? chart.data[2].at(-1)));
  put("listened", number(overview.topics.listened));
  put("uptime", span(overview.now - overview.started));
  put("version", overview.version);
}

function alarms({ tasks, health }) {
  const said = [
    ...health.reasons.map((reason) => `Not ready: ${reason}`),
    ...health.degraded.map((reason) => `Degraded: ${reason}`),
    ...tasks.filter((each) => each.failing).map((each) => `The watchdog's ${each.name} fails: ${each.last_error}`),
  ];
  const place = document.getElementById("alarms");
  const words = said.join("\n");
  if (place.dataset.words === words) return; // said once, not every two seconds
  place.dataset.words = words;
  place.replaceChildren(...said.map((each) => element("li", {}, each)));
}

function tables({ clients, topics, bus, tasks, slowest }) {
  fill("protocols", clients.by_protocol.map((each) => [cell(each.protocol), cell(each.version || "–"), cell(number(each.clients), "number")]));
  fill("busiest", topics.busiest.map((each) => [cell(each.topic), cell(number(each.subscriptions), "number")]));
  fill("bus", [
    [cell("State"), cell(bus.connected ? "connected" : "not connected", bus.connected ? "good" : "bad")],
    ...(bus.reason ? [[cell("Reason"), cell(bus.reason)]] : []),
    [cell("Waiting for confirmation"), cell(number(bus.waiting))],
    ...Object.entries(bus.counters).map(([name, count]) => [cell(name.replaceAll("_", " ")), cell(number(count))]),
  ]);
  fill("tasks", tasks.map(task));
  fill("slowest", slowest.map((each) => [
    cell(each.address),
    cell(each.protocol),
    cell(number(each.waiting), "number"),
    cell(number(each.octets), "number"),
    cell(number(each.dropped), "number"),
    cell(each.blocked ? "does not read" : "reads", each.blocked ? "bad" : "good"),
  ]));
}

function slides({ preflight, schedule }) {
  const found = preflight?.recent ?? [];
  put("no-preflight", preflight ? "Nothing was found." : "Nobody looks at them: PREFLIGHT is off.");
  fill("preflight", found.map((each) => [cell(clock(each.when), "time"), published(each), cell(each.complaints.join("; "), "bad")]));
  document.getElementById("schedule").hidden = !schedule;
  if (!schedule) return;
  put("held", `${number(schedule.held)} of ${number(schedule.most)}`);
  fill("schedule", schedule.next.map((each) => [cell(clock(each.at), "time"), published(each), cell(each.message_id)]));
}

function published({ topic, body }) {
  const place = cell(topic);
  place.append(element("div", {}, body));
  return place;
}

function task({ name, failing, last_success, last_error, last_error_at, restarts }) {
  const state = cell(failing ? "fails" : "works", failing ? "bad" : "good");
  if (last_error) state.append(element("div", { class: "fault" }, `${clock(last_error_at)}: ${last_error}`));
  return [cell(name.replaceAll("_", " ")), state, cell(last_success ? clock(last_success) : "–", "time"), cell(number(restarts), "number")];
}

async function look() {
  const overview = await ask("/api/overview", { since: chart.newest || "" });
  if (started && overview.started !== started) chart.data = [[], [], []]; // another life of the node
  started = overview.started;
  chart.add(overview.rates);
  figures(overview);
  alarms(overview);
  tables(overview);
  slides(overview);
  document.getElementById("journal").hidden = !overview.journal;
}

keep(look, PAUSE, document.getElementById("state"));
searchTopics();
searchJournal();
