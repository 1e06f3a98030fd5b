// Publishes and deliveries per second over time. Two scales: one slide may go to thousands of radios.

const LEAST = 300; // seconds that are drawn though less is known
const STEPS = [60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400]; // seconds between times on the axis
const KEPT = 17280; // points: a day of five-second ones, the most a node remembers

/** Hours and minutes of a time in seconds since 1970. */
function clock(seconds, more = {}) {
  return new Date(seconds * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", ...more });
}

/* global uPlot */
export class Chart {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    this.data = [[], [], []];
    this.plot = null;
    new ResizeObserver(() => this.plot?.setSize(this.#size())).observe(place);
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.#draw());
  }

  /** The time of the newest point, in seconds since 1970; 0 when there is none. */
  get newest() {
    return this.data[0].at(-1) ?? 0;
  }

  /** More points, later than those before. */
  add({ times, messages, deliveries }) {
    if (!times.length) return;
    this.data = [times, messages, deliveries].map((column, at) => [...this.data[at], ...column].slice(-KEPT));
    if (this.plot) this.plot.setData(this.data);
    else this.#draw();
  }

  #size() {
    return { width: Math.max(200, this.place.clientWidth), height: 220 };
  }

  #draw() {
    this.plot?.destroy();
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const line = { stroke: colour("--faint"), grid: { stroke: colour("--edge"), width: 1 }, ticks: { show: false } };
    const value = (_, number) => (number == null ? "–" : number.toLocaleString(undefined, { maximumFractionDigits: 1 }));
    const range = (_, __, most) => [0, Math.max(1, most * 1.1)];
    this.plot = new uPlot(
      {
        ...this.#size(),
        scales: {
          x: { range: (_, first, last) => [Math.min(first, last - LEAST), last] },
          messages: { range },
          deliveries: { range },
        },
        axes: [
          { ...line, incrs: STEPS, values: (_, times) => times.map((time) => clock(time)) },
          { ...line, scale: "messages", stroke: colour("--accent"), size: 60 },
          { ...line, scale: "deliveries", stroke: colour("--good"), side: 1, size: 60, grid: { show: false } },
        ],
        series: [
          { label: "Time", value: (_, time) => (time == null ? "–" : clock(time, { second: "2-digit" })) },
          { label: "Publishes (left)", scale: "messages", stroke: colour("--accent"), width: 2, value },
          { label: "Deliveries (right)", scale: "deliveries", stroke: colour("--good"), width: 2, dash: [6, 4], value },
        ],
      },
      this.data,
      this.place,
    );
  }
}
