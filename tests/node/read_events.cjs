// Reads events from a stream with JetStream, holds them to CloudEvents' rules, and prints what it understood of each.
const assert = require("node:assert/strict");
const { connect } = require("@nats-io/transport-node");
const { jetstream } = require("@nats-io/jetstream");
const { CloudEvent } = require("cloudevents");
const { messageType } = require("./contracts.cjs");

const [folder, url, stream, count] = process.argv.slice(2);
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

function attributesOf(headers) {
  const attributes = {};
  for (const name of headers.keys()) {
    const value = headers.get(name);
    assert.match(value, /^[\x21-\x7e]+$/, `${name} holds what must be percent-encoded`);
    if (name.startsWith("ce-")) {
      assert.match(name, /^ce-[a-z0-9]{1,20}$/, "names of attributes are lower-case letters and digits");
      attributes[name.slice(3)] = decodeURIComponent(value);
    }
  }
  return attributes;
}

function check(attributes, message) {
  new CloudEvent(attributes, true); // the SDK's own validation: it throws
  assert.equal(attributes.specversion, "1.0");
  assert.match(attributes.time, RFC_3339);
  assert.equal(attributes.datacontenttype, "application/protobuf");
  assert.ok(!message.headers.keys().some((name) => name.toLowerCase() === "content-type"));
  assert.equal(message.headers.get("Nats-Msg-Id"), attributes.id);
}

async function main() {
  const connection = await connect({ servers: url });
  const consumer = await jetstream(connection).consumers.get(stream);
  const messages = await consumer.consume();
  let left = Number(count);
  for await (const message of messages) {
    const attributes = attributesOf(message.headers);
    check(attributes, message);
    const type = messageType(folder, attributes.type);
    const data = type.toObject(type.decode(message.data), { longs: Number, arrays: true });
    console.log(JSON.stringify({ subject: message.subject, attributes, data }));
    if (--left === 0) break;
  }
  await connection.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
