// Listen as an app: print each text and slide of a channel, by STOMP over a WebSocket, until Ctrl-C.
//   npm install @stomp/stompjs ws
//   node listen-websocket.mjs ws://127.0.0.1:8080/stomp /topic/fm/4e1/4000/09580/
// A browser has a WebSocket of its own: there the lines with "ws" are not needed.
import { Client, ReconnectionTimeMode } from "@stomp/stompjs";
import WebSocket from "ws";

Object.assign(globalThis, { WebSocket });

const [url, channel] = process.argv.slice(2);
if (!channel) {
  console.error("usage: node listen-websocket.mjs URL CHANNEL");
  process.exit(2);
}

const printable = (text) => text.replace(/[\x00-\x1f\x7f-\x9f]/g, " "); // nothing that controls a terminal

function show(message) {
  if (/^(TEXT|SHOW) /.test(message.body)) {
    console.log(printable([message.body, message.headers.link].filter(Boolean).join(" ")));
  }
}

const client = new Client({
  brokerURL: url,
  connectionTimeout: 10000, // milliseconds, as are all times here
  heartbeatIncoming: 10000, // a server that misses two of them is gone,
  discardWebsocketOnCommFailure: true, // and is not waited for
  heartbeatOutgoing: 0,
  reconnectDelay: 1000 + 4000 * Math.random(), // at random, so that not all apps come back at once
  reconnectTimeMode: ReconnectionTimeMode.EXPONENTIAL,
  maxReconnectDelay: 30000,
  onConnect: () => ["text", "image"].forEach((kind) => client.subscribe(channel + kind, show)),
  onStompError: (frame) => console.error(printable(frame.headers.message ?? frame.body)),
  onWebSocketClose: () => console.error(`no connection to ${url}`),
});
client.activate();
