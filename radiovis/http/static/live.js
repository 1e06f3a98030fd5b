// An event stream that comes back by itself, and says so.

const FIRST = 1000; // milliseconds; doubled with each attempt
const LONGEST = 30000;

/**
 * Hear the events of a stream while the page is to be seen. A tab in the background lets go: a browser opens no more
 * than six connections to a node, so the seventh tab would not even load.
 * @param {string} url
 * @param {Object<string, function(Object, MessageEvent)>} heard name of an event → what to do with its JSON
 * @param {HTMLElement} state where to say whether the stream is there
 */
export function live(url, heard, state) {
  let source = null;
  let attempts = 0;
  let timer = null;

  function connect() {
    clearTimeout(timer);
    source?.close();
    if (document.hidden) return;
    source = new EventSource(url);
    source.onopen = () => {
      attempts = 0;
      say(state, "live", "Live");
    };
    source.onerror = retry;
    for (const [name, act] of Object.entries(heard)) {
      source.addEventListener(name, (event) => act(JSON.parse(event.data), event));
    }
  }

  // Not the browser's own way of coming back: it gives up after an answer such as 503, and all of them at once would
  // fall upon a node that has just started.
  function retry() {
    source.close();
    const pause = Math.min(LONGEST, FIRST * 2 ** attempts) * (0.5 + Math.random() / 2);
    attempts += 1;
    say(state, "away", "Reconnecting…");
    clearTimeout(timer);
    timer = setTimeout(connect, pause);
  }

  window.addEventListener("online", connect);
  document.addEventListener("visibilitychange", connect);
  connect();
}

function say(state, kind, words) {
  state.hidden = false;
  if (state.dataset.kind !== kind) {
    state.dataset.kind = kind;
    state.textContent = words;
  }
}

/**
 * A button that holds back what is shown; the newest of each kind is shown when it is released.
 * @param {HTMLButtonElement} button
 * @returns {function(string, function())} shows something now or later; what has the same key replaces it meanwhile
 */
export function pausable(button) {
  const held = new Map();
  button.hidden = false;
  button.addEventListener("click", () => {
    const paused = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(paused));
    document.body.classList.toggle("paused", paused);
    if (!paused) {
      for (const show of held.values()) show();
      held.clear();
    }
  });
  return (key, show) => {
    if (document.body.classList.contains("paused")) held.set(key, show);
    else show();
  };
}
