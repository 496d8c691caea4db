// Publishes events with JetStream as programs of others do, well and badly, and prints what the stream said of each.
const crypto = require("node:crypto");
const { connect, headers } = require("@nats-io/transport-node");
const { jetstream } = require("@nats-io/jetstream");
const { CloudEvent, HTTP } = require("cloudevents");
const { messageType } = require("./contracts.cjs");

const [folder, url] = process.argv.slice(2);
const TYPE = "shop.orders.v1.OrderPlaced";
const OrderPlaced = messageType(folder, TYPE);

// Any function of the key will do, as long as a key's events have one partition.
function subjectOf(key) {
  const partition = crypto.createHash("sha256").update(key).digest()[0] % 16;
  return `orders.placed.v1.p${String(partition).padStart(2, "0")}`;
}

function order(orderId) {
  const lines = [{ sku: "sku-1", quantity: 2 }];
  return OrderPlaced.encode({ orderId, customerId: "Zoë", lines, total: 4200 }).finish();
}

function attributes(id, more = {}) {
  return {
    "ce-specversion": "1.0",
    "ce-id": id,
    "ce-source": "/till",
    "ce-type": TYPE,
    "ce-time": "2026-11-24T18:00:00.123456789+01:00",
    "ce-datacontenttype": "application/protobuf",
    "ce-correlationid": `correlation-of-${id}`,
    "Nats-Msg-Id": id,
    ...more,
  };
}

function without(all, ...names) {
  return Object.fromEntries(Object.entries(all).filter(([name]) => !names.includes(name)));
}

function otherCase(all) {
  const capitals = (name) => name.replace(/(^|-)[a-z]/g, (letters) => letters.toUpperCase());
  return Object.fromEntries(Object.entries(all).map(([name, value]) => [capitals(name), value]));
}

// What the SDK makes for HTTP: the type of the data stands in content-type.
function bySdk(orderId) {
  const event = new CloudEvent({
    id: orderId,
    type: TYPE,
    source: "/sdk",
    datacontenttype: "application/json; charset=utf-8",
    correlationid: `correlation-of-${orderId}`,
    data: { orderId, customerId: "Zoë", lines: [{ sku: "sku-1", quantity: 2 }], total: "4200", addedLater: [1] },
  });
  const { headers: given, body } = HTTP.binary(event);
  return { key: orderId, headers: given, data: Buffer.from(body) };
}

function structured(orderId) {
  const event = new CloudEvent({ id: orderId, type: TYPE, source: "/sdk", data: { orderId } });
  const { headers: given, body } = HTTP.structured(event);
  return { key: orderId, headers: given, data: Buffer.from(body) };
}

function plain(key, given = attributes(key), data = order(key)) {
  return { key, headers: given, data };
}

const EVENTS = [
  plain("plain"),
  plain("plain"), // the stream knows the id
  plain("twice", without(attributes("twice"), "Nats-Msg-Id")),
  plain("twice", without(attributes("twice"), "Nats-Msg-Id")), // stored again: only the inbox knows it
  plain("other-case", otherCase(attributes("other-case"))),
  plain("encoded", attributes("encoded", { "ce-source": "/caf%C3%A9%20%22x%22", "ce-partitionkey": "caf%C3%A9" })),
  plain("extensions", attributes("extensions", { "ce-tenant": "acme", "ce-dataschema": "https://example.com/a#b" })),
  plain("traced", attributes("traced", { "ce-traceparent": `00-${"a".repeat(32)}-${"b".repeat(16)}-01` })),
  plain("no-id", without(attributes("no-id"), "ce-id")),
  plain("no-id-at-all", without(attributes("no-id-at-all"), "ce-id", "Nats-Msg-Id")),
  plain("no-type", without(attributes("no-type"), "ce-type")),
  plain("no-headers", {}),
  bySdk("by-sdk"),
  plain("bad-bytes", attributes("bad-bytes"), Buffer.from([0xff, 0xff])),
  plain("bad-content", attributes("bad-content", { "ce-datacontenttype": "text/plain" }), Buffer.from("hello")),
  plain("bad-json", attributes("bad-json", { "ce-datacontenttype": "application/json" }), Buffer.from('{"total":{}}')),
  plain("bad-type", attributes("bad-type", { "ce-type": "shop.orders.v1.OrderLost" })),
  plain("bad-version", attributes("bad-version", { "ce-specversion": "0.3" })),
  structured("bad-mode"),
  plain("last"),
];

async function main() {
  const connection = await connect({ servers: url });
  const stream = jetstream(connection);
  for (const { key, headers: given, data } of EVENTS) {
    const sent = headers();
    for (const [name, value] of Object.entries(given)) sent.set(name, value);
    const ack = await stream.publish(subjectOf(key), data, { headers: sent });
    console.log(JSON.stringify({ key, sequence: ack.seq, duplicate: ack.duplicate }));
  }
  await connection.drain();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
