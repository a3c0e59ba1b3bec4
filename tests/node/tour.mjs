// The README's tour in another language: mqtt.js, MQTT 5, a response topic and correlation data.
// `node tour.mjs PORT` prints one JSON object with all that was heard; any trouble ends it with 1.
import { createHash, randomUUID } from "node:crypto";
import mqtt from "mqtt";

const BASE = "tokd/v1/main";
const ME = "panel";
const REPLY_TO = `${BASE}/reply/${ME}/inbox/one`;
const DEADLINE_MS = 60_000;

const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${process.argv[2]}`, { protocolVersion: 5 });
const waiting = new Map();
const events = [];
const retained = {};
let onEvent = () => {};

client.on("message", (topic, payload, packet) => {
  if (topic === REPLY_TO) {
    const reply = JSON.parse(payload);
    const found = waiting.get(packet.properties.correlationData.toString("hex"));
    found.replies.push(reply);
    if (reply.final) found.resolve(found.replies);
  } else if (topic.startsWith(`${BASE}/event/`)) {
    events.push({ content: packet.properties.contentType, ...JSON.parse(payload) });
    onEvent();
  } else if (packet.retain) {
    retained[topic.slice(BASE.length + 1)] = payload.toString();
    onEvent();
  }
});
await client.subscribeAsync([REPLY_TO, `${BASE}/event/#`, `${BASE}/info`, `${BASE}/availability`], { qos: 1 });

function within(promise, what) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`no ${what} in time`)), DEADLINE_MS).unref();
  });
  return Promise.race([promise, late]);
}

// Sends a command and returns all its replies. The correlation data is bytes, and no text on purpose.
async function ask(verb, args = {}, envelope = {}) {
  const key = Buffer.concat([Buffer.from([0, 255]), Buffer.from(randomUUID())]);
  const answered = new Promise((resolve) => waiting.set(key.toString("hex"), { replies: [], resolve }));
  await client.publishAsync(`${BASE}/cmd/${ME}/${verb}`, JSON.stringify({ args, ...envelope }), {
    qos: 1,
    properties: { responseTopic: REPLY_TO, correlationData: key, contentType: "application/json" },
  });
  return within(answered, `answer to ${verb}`);
}

async function last(verb, args, envelope) {
  return (await ask(verb, args, envelope)).at(-1);
}

function until(look, what) {
  return within(new Promise((resolve) => {
    onEvent = () => look() && resolve();
    onEvent();
  }), what);
}

try {
  await until(() => retained.info && retained.availability, "info");
  const told = { ping: await last("system/ping") };
  const order = { account: "demo", media: "clip.mp4", privacy: "SELF_ONLY", at: "2040-01-01T09:00:00+01:00" };
  told.schedule = await ask("post/schedule", order, { id: "tour-1" });
  const post = told.schedule.at(-1).result?.post;
  told.again = await last("post/schedule", order, { id: "tour-1" });
  told.status = await last("post/status", { post });
  told.cancel = await last("post/cancel", { post }, { id: "tour-2" });
  told.list = await last("post/list");
  told.sessions = await last("session/list");
  told.refused = await last("post/schedule", { ...order, colour: "red" }, { id: "tour-3" });
  await until(() => events.some((event) => event.type === "dev.tokd.post.cancelled"), "event");
  told.replay = await last("events/replay", { after: 0 });
  const { schema, asyncapi } = (await last("system/describe", { asyncapi: true })).result;
  const sha256 = createHash("sha256").update(JSON.stringify(asyncapi)).digest("hex");
  told.document = { schema, sha256, title: asyncapi.info.title };
  console.log(JSON.stringify({ told, events, retained }));
  await client.endAsync();
} catch (error) {
  console.error(error);
  process.exit(1);
}
