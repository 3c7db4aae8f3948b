import { sourceConformance } from "@tidemark/store-watch/testing";
import { afterAll, beforeAll, test } from "vitest";
import { formatPath, type GnmiPath, pathElem } from "../src/index.ts";
import { GnmiDevice } from "../src/testing.ts";
import { decodingBytes, quickSource } from "./support.ts";

const device = new GnmiDevice();
beforeAll(() => device.listen());
afterAll(() => device.close());

const entry = (name: Uint8Array): GnmiPath => ({
  origin: "",
  target: "",
  elems: [pathElem("entries"), pathElem("entry", { name: Buffer.from(name).toString() }), pathElem("value")],
});

const open = () => decodingBytes(quickSource(device, { encoding: "proto" }));

const checks = sourceConformance({
  timeoutMs: 45_000,
  binaryKeys: false,
  open,
  capabilities: open().capabilities,
  driver: {
    key: (name) => Buffer.from(formatPath(entry(name))),
    async apply(operations) {
      const paths = new Map(operations.map(({ key }) => [key, Buffer.from(key).toString()]));
      device.apply({
        delete: operations.flatMap(({ key, value }) => (value === undefined ? [paths.get(key) ?? ""] : [])),
        update: operations.flatMap(({ key, value }) =>
          value === undefined ? [] : [{ path: paths.get(key) ?? "", value }],
        ),
      });
    },
    async disconnect() {
      device.cut();
    },
  },
});

for (const { name, skip, run } of checks) test.skipIf(skip !== undefined)(name, run);
