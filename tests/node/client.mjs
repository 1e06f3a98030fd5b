// One @stomp/stompjs client, told what to do by a test: a JSON object per line in, and one out for everything it sees.
//
//   in   {"do": "connect", "url": …, "version": "1.2", "login": …, "passcode": …, "binary": true, "beat": [0, 1000]}
//        {"do": "subscribe", "destination": …, "id": …, "receipt": …}   {"do": "unsubscribe", "id": …, "receipt": …}
//        {"do": "publish", "destination": …, "body": base64, "headers": {…}, "receipt": …}     {"do": "disconnect"}
//   out  {"saw": "connected", "version": …, "protocol": …, "heartbeat": …}   {"saw": "message", "headers": {…}, "body": base64}
//        {"saw": "receipt", "id": …}   {"saw": "error", "headers": {…}}   {"saw": "beat"}   {"saw": "closed", "code": …}

import { createInterface } from "node:readline";
import { Client, Versions } from "@stomp/stompjs";
import WebSocket from "ws";

let client;

const tell = (saw, what = {}) => process.stdout.write(JSON.stringify({ saw, ...what }) + "\n");
const octets = (text) => Uint8Array.from(Buffer.from(text, "base64"));
const base64 = (data) => Buffer.from(data).toString("base64");
const tellReceipt = (id) => id && client.watchForReceipt(id, () => tell("receipt", { id }));
const withReceipt = (headers, receipt) => (receipt ? { ...headers, receipt } : headers);

const actions = {
  connect({ url, version, login, passcode, binary = false, beat = [0, 0] }) {
    const versions = new Versions([version]);
    let socket;
    client = new Client({
      webSocketFactory: () => (socket = new WebSocket(url, versions.protocolVersions())),
      stompVersions: versions,
      connectHeaders: login ? { login, passcode } : {},
      forceBinaryWSFrames: binary,
      heartbeatOutgoing: beat[0],
      heartbeatIncoming: beat[1],
      reconnectDelay: 0,
      debug: (text) => text === "<<< PONG" && tell("beat"),
      onConnect: ({ headers }) =>
        tell("connected", { version: headers.version, protocol: socket.protocol, heartbeat: headers["heart-beat"] }),
      onStompError: ({ headers }) => tell("error", { headers }),
      onWebSocketClose: ({ code }) => tell("closed", { code }),
    });
    client.activate();
  },
  subscribe({ destination, id, receipt }) {
    tellReceipt(receipt);
    const heard = ({ headers, binaryBody }) => tell("message", { headers, body: base64(binaryBody) });
    client.subscribe(destination, heard, withReceipt({ id }, receipt));
  },
  unsubscribe({ id, receipt }) {
    tellReceipt(receipt);
    client.unsubscribe(id, withReceipt({}, receipt));
  },
  publish({ destination, body, headers = {}, receipt }) {
    tellReceipt(receipt);
    client.publish({ destination, binaryBody: octets(body), headers: withReceipt(headers, receipt) });
  },
  disconnect() {
    client.deactivate();
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { do: action, ...what } = JSON.parse(line);
    actions[action](what);
  })
  .on("close", () => process.exit());
