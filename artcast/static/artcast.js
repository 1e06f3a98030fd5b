// What a page needs to show an artcast: import { listen } from "/content/artcast.js", or from another server's.

const PAUSE = 3000; // milliseconds before the next attempt when a server does not answer

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export const address = (key) => new URL(`/artcasts/${key.split("/").map(encodeURIComponent).join("/")}`, import.meta.url);

// Calls show(value) with each value of the key, and away(reason) when the server does not answer. Never ends.
export async function listen(key, show, away = () => {}) {
  for (;;) {
    try {
      const answer = await fetch(address(key), { headers: { accept: "application/json" }, cache: "no-store" });
      if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
      show(await answer.json());
    } catch (error) {
      away(error.message);
      await wait(PAUSE);
    }
  }
}
