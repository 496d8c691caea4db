// The shop's contracts, read from their .proto files as any program in Node would read them.
const fs = require("node:fs");
const path = require("node:path");
const protobuf = require("protobufjs");

exports.messageType = (folder, name) => {
  const root = new protobuf.Root();
  root.resolvePath = (_, target) => {
    const file = path.join(folder, target);
    return target.startsWith("shop/") && fs.existsSync(file) ? file : null; // options mean nothing here
  };
  root.loadSync("shop/orders/v1/orders.proto");
  return root.lookupType(name);
};
