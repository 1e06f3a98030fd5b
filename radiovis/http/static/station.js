// What one station has on air, in the elements of its card.

const LATEST = 3600000; // milliseconds; a trigger time further off is a wrong clock's

/** The address if a page may use it: http or https. */
export function webAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

export class Station {
  /** @param {HTMLElement} card with .slide, .text, .age, and perhaps .link */
  constructor(card) {
    this.card = card;
    this.image = card.querySelector(".slide img");
    this.none = card.querySelector(".slide .none");
    this.text = card.querySelector(".text span") ?? card.querySelector(".text");
    this.link = card.querySelector(".link");
    this.time = card.querySelector(".age time");
    this.wanted = null;
    this.timer = null;
    this.image.addEventListener("error", () => this.#empty("The slide cannot be loaded"));
    if (this.image.complete && this.image.src && !this.image.naturalWidth) this.#empty("The slide cannot be loaded");
  }

  /** A slide: now, or when its trigger time has come. */
  slide({ src, link, when, "trigger-time": trigger }) {
    clearTimeout(this.timer);
    const wait = Date.parse(trigger) - Date.now();
    if (wait > 0 && wait < LATEST) this.timer = setTimeout(() => this.#show(src, link, when), wait);
    else this.#show(src, link, when);
  }

  /** A text. */
  say({ body, when }) {
    const text = body.replace(/\s+/g, " ").trim();
    if (this.text.textContent !== text) this.text.textContent = text;
    this.#changed(when);
  }

  async #show(src, link, when) {
    const address = webAddress(src);
    this.wanted = address;
    this.#changed(when);
    if (address === null) {
      this.#empty("No slide");
    } else if (address !== this.image.src || this.image.hidden) {
      const next = new Image(); // loaded out of sight, so that the old slide stays until the new one is there
      next.src = address;
      const loaded = await next.decode().then(() => true, () => false);
      if (this.wanted !== address) return;
      if (loaded) this.#put(address);
      else this.#empty("The slide cannot be loaded");
    }
    this.#lead(link);
  }

  #put(address) {
    this.image.src = address;
    this.image.hidden = false;
    this.none.hidden = true;
    this.image.getAnimations().forEach((each) => each.cancel());
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.image.animate([{ opacity: 0.2 }, { opacity: 1 }], { duration: 350, easing: "ease-out" });
    }
  }

  #empty(words) {
    this.image.hidden = true;
    this.none.hidden = false;
    this.none.textContent = words;
  }

  #lead(link) {
    if (!this.link) return;
    const address = webAddress(link);
    this.link.hidden = address === null;
    if (address === null) this.link.removeAttribute("href");
    else this.link.href = address;
  }

  /** @param {number} when seconds since 1970; now if it is not known */
  #changed(when = Date.now() / 1000) {
    const date = new Date(when * 1000);
    const before = Date.parse(this.time.getAttribute("datetime"));
    if (before >= date.getTime()) return;
    this.card.classList.remove("silent");
    this.time.setAttribute("datetime", date.toISOString());
    tell(this.time);
  }
}

/** "5 s ago" in place of a time of day. */
export function tell(time) {
  const at = Date.parse(time.getAttribute("datetime"));
  if (Number.isNaN(at)) return;
  const words = ago(Math.max(0, Math.round((Date.now() - at) / 1000)));
  time.title = new Date(at).toLocaleString();
  if (time.textContent !== words) time.textContent = words;
}

function ago(seconds) {
  if (seconds < 3) return "now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/** Keep all times of the page true. */
export function keepTime() {
  const all = () => document.querySelectorAll(".age time").forEach(tell);
  all();
  setInterval(all, 1000);
}
