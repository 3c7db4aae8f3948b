import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished, test, vi } from "vitest";
import { type TestEtcd, tcpProxy } from "../src/testing.ts";
import { startCluster } from "./support/cluster.ts";
import { complaint, follow, impatient, isLive, quickSource, reached, revisionOf } from "./support/harness.ts";
import { Ledger } from "./support/ledger.ts";

const etcdTest = serviceTest("etcd");
// Elections and timeouts inside etcd take seconds each.
const isLong = process.env["TIDEMARK_LONG"] === "1";

(isLong ? etcdTest : test.skip)("follows a cluster while its members are killed, frozen and lag behind", async () => {
  await using cluster = await startCluster();
  const proxies = await Promise.all(cluster.members.map(({ endpoint }) => tcpProxy({ target: endpoint })));
  onTestFinished(() => Promise.all(proxies.map((proxy) => proxy.close())).then(() => {}));
  const [a, b, c] = cluster.members as [TestEtcd, TestEtcd, TestEtcd];
  const endpoints = proxies.map(({ endpoint }) => endpoint);
  const probe = follow(quickSource({ endpoints, prefix: "", ...impatient }));
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  let last = 0n;
  const write = async (through: TestEtcd, count: number, value: string) => {
    for (let index = 0; index < count; index++) {
      // During an election a write may fail, and may have been done all the same.
      last = await through.client.put(`k${index % 9}`, `${value}${index}`).catch(() => last);
    }
  };
  await write(a, 30, "all");
  await reached(probe, last);

  // The member that serves us dies; the next one goes on.
  await a.kill9();
  await write(b, 30, "without a");
  await reached(probe, last);
  await a.start();

  // The one that serves us now stands still, and has missed much when it is all that we can reach.
  b.freeze();
  await write(c, 300, "without b");
  await reached(probe, last);
  for (const [index, proxy] of proxies.entries()) if (index !== 1) proxy.refuse();
  b.thaw();
  await isLive(probe);
  await write(b, 30, "through b");
  await reached(probe, last);

  expect(probe.gaps).toEqual([]);
  expect(probe.snapshots).toBe(1);
  const ledger = new Ledger();
  await ledger.read(c.client, last);
  ledger.check(probe, snapshot);
});

etcdTest("says that a member has lost its leader, instead of looking alive", async () => {
  await using cluster = await startCluster();
  const [a, b, c] = cluster.members as [TestEtcd, TestEtcd, TestEtcd];
  const probe = follow(quickSource({ endpoints: [a.endpoint], prefix: "" }));
  await isLive(probe);
  b.freeze();
  c.freeze();
  expect(await complaint(probe, "no leader")).toContain("cannot serve now");
  b.thaw();
  c.thaw();
  await isLive(probe);
  // They may be about to elect another leader, and take no writes meanwhile.
  await reached(probe, await vi.waitFor(() => b.client.put("a", "1"), { timeout: 30_000 }));
  expect(probe.gaps).toEqual([]);
});
