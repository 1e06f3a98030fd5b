// One node-stomp client, told what to do by a test: a JSON object per line in, and one out for everything it sees.
//
//   in   {"do": "connect", "host": …, "port": …, "login": …, "passcode": …}     {"do": "subscribe", "destination": …}
//        {"do": "unsubscribe", "destination": …, "id": …}   {"do": "publish", "destination": …, "body": …, "receipt": true}
//        {"do": "disconnect"}
//   out  {"saw": "connected", "version": …}   {"saw": "message", "destination": …, "subscription": …, "body": …}
//        {"saw": "receipt"}   {"saw": "error", "message": …}   {"saw": "closed"}

import { createInterface } from "node:readline";
import stomp from "node-stomp";

let client;

const tell = (saw, what = {}) => process.stdout.write(JSON.stringify({ saw, ...what }) + "\n");

const actions = {
  connect(options) {
    client = new stomp.Stomp(options);
    client.on("connected", () => tell("connected", { version: client.version }));
    client.on("message", ({ headers: { destination, subscription }, body }) =>
      tell("message", { destination, subscription, body: body[0] }),
    );
    client.on("receipt", () => tell("receipt"));
    client.on("error", ({ headers, message }) => tell("error", { message: headers ? headers.message : message }));
    client.on("disconnected", () => tell("closed"));
    client.connect();
  },
  subscribe({ destination }) {
    client.subscribe({ destination }, () => {});
  },
  unsubscribe({ destination, id }) {
    try {
      client.unsubscribe({ destination, id });
    } catch (error) {
      // It looks for the callback of id 0 under the destination, after it has sent the frame.
      if (!(error instanceof TypeError)) throw error;
    }
  },
  publish({ destination, body, receipt = false }) {
    client.send({ destination, body }, receipt);
  },
  disconnect() {
    client.disconnect();
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { do: action, ...what } = JSON.parse(line);
    actions[action](what);
  })
  .on("close", () => process.exit());
