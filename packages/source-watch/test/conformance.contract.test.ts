import { sourceConformance } from "@tidemark/store-watch/testing";
import { ReconnectLimiter } from "@tidemark/stream";
import { afterAll, beforeAll, test } from "vitest";
import { watchSource } from "../src/index.ts";
import { Relay, Site } from "./support.ts";

const site = new Site();
let relay: Relay;

beforeAll(async () => {
  await site.up();
  relay = await new Relay(site.port).listen();
});

afterAll(async () => {
  relay.close();
  await site.dispose();
});

const open = () =>
  watchSource({
    address: relay.address,
    progressIntervalMs: 100,
    // A machine that stands still for a while is no silence of the store's.
    silenceTimeoutMs: 60_000,
    limiter: new ReconnectLimiter({ ratePerSecond: 1000, burst: 100 }),
  });

const checks = sourceConformance({
  open,
  timeoutMs: 50_000,
  capabilities: watchSource({ address: "http://127.0.0.1:1" }).capabilities,
  driver: {
    async apply(operations) {
      const ops = operations.map(({ key, value }) =>
        value === undefined ? ({ type: "delete", key } as const) : ({ type: "put", key, value } as const),
      );
      await site.store.txn({ ops });
    },
    async disconnect() {
      relay.cut();
    },
    async compact() {
      await site.store.compact(site.store.revision());
    },
    async replace() {
      await site.wipe();
    },
  },
});

for (const { name, skip, run } of checks) test.skipIf(skip !== undefined)(name, run);
