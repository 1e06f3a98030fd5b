// JSON of our own node, asked for again and again.

const LONGEST = 30000; // milliseconds

/** The JSON at an address. Throws an Error with the server's own words if there is none. */
export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null));
  const answer = await fetch(query.size ? `${path}?${query}` : path, { signal: AbortSignal.timeout(15000) });
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.detail ?? `${path} answers ${answer.status}`);
  return content;
}

/**
 * Do something every so often; when it fails, say so and try again with more and more patience.
 * @param {function(): Promise<void>} act
 * @param {number} pause milliseconds
 * @param {HTMLElement} state
 */
export async function keep(act, pause, state) {
  for (let failures = 0; ; ) {
    try {
      await act();
      failures = 0;
    } catch (error) {
      failures += 1;
      console.info(String(error));
    }
    const kind = failures ? "away" : "live";
    state.hidden = false;
    if (state.dataset.kind !== kind) {
      state.dataset.kind = kind;
      state.textContent = failures ? "Reconnecting…" : "Live";
    }
    const wait = Math.min(LONGEST, pause * 2 ** Math.min(failures, 10)) * (failures ? 0.5 + Math.random() / 2 : 1);
    await new Promise((done) => setTimeout(done, wait));
  }
}
