import { onTestFinished } from "vitest";
import { sourceConformance } from "@tidemark/store-watch/testing";
import { serviceTest } from "@tidemark/tooling/services";
import { startEtcd, type TcpProxy, type TestEtcd, tcpProxy } from "../src/testing.ts";
import { quickSource } from "./support/harness.ts";

const etcdTest = serviceTest("etcd");
const prefix = Buffer.from("watched/");

let etcd: TestEtcd;
let proxy: TcpProxy;
const source = () => quickSource({ endpoints: [proxy.endpoint], prefix });

const checks = sourceConformance({
  timeoutMs: 45_000,
  open: source,
  capabilities: quickSource({ endpoints: ["127.0.0.1:1"], prefix }).capabilities,
  driver: {
    key: (bytes) => Buffer.concat([prefix, bytes]),
    apply: async (operations) => {
      await etcd.client.txn(operations.map(({ key, value }) => ({ key, ...(value === undefined ? {} : { value }) })));
    },
    disconnect: () => Promise.resolve(proxy.cut()),
    compact: async () => {
      await etcd.compact();
    },
    replace: () => etcd.wipe(),
  },
});

for (const { name, skip, run } of checks) {
  // Each with an etcd of its own: some of them replace it.
  etcdTest(`keeps the watch contract: ${name}${skip === undefined ? "" : ` (not: ${skip})`}`, async () => {
    if (skip !== undefined) return;
    etcd = await startEtcd();
    onTestFinished(() => etcd[Symbol.asyncDispose]());
    proxy = await tcpProxy({ target: etcd.endpoint });
    onTestFinished(() => proxy.close());
    await run();
  });
}
