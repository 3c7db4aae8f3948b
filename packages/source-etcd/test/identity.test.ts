import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished } from "vitest";
import { startEtcd, type TestEtcd, tcpProxy } from "../src/testing.ts";
import { follow, isLive, quickSource, reached, revisionOf } from "./support/harness.ts";
import { Ledger } from "./support/ledger.ts";

const etcdTest = serviceTest("etcd");

/** An etcd that has had an election beside its first, as every etcd that was ever restarted. */
async function agedEtcd(): Promise<TestEtcd> {
  const etcd = await startEtcd();
  onTestFinished(() => etcd[Symbol.asyncDispose]());
  await etcd.client.put("before", "1");
  await etcd.restart();
  return etcd;
}

async function backupFile(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-backup-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "backup.db");
}

async function putAll(etcd: TestEtcd, ledger: Ledger, count: number, value: string): Promise<void> {
  for (let index = 0; index < count; index++) await ledger.put(etcd.client, `k${index % 7}`, `${value}${index}`);
}

/** The store is another one: a gap, a new epoch, and a snapshot of what is there now. */
async function expectNewStore(
  probe: ReturnType<typeof follow>,
  ledger: Ledger,
  epoch: string | undefined,
  from: string,
) {
  await probe.until("another epoch", () => probe.epoch !== epoch && probe.snapshots > 0);
  await isLive(probe);
  await reached(probe, ledger.last);
  const snapshot = revisionOf(probe.cursor);
  expect(probe.gaps).toHaveLength(1);
  expect(probe.gaps[0]).toMatchObject({ reason: "epoch-changed", from });
  const known = probe.groups.length;
  ledger.checkState(probe);
  return { snapshot, known };
}

etcdTest("a wiped etcd with the same cluster id is another store", async () => {
  const etcd = await agedEtcd();
  const ledger = new Ledger("k");
  const probe = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "k" }));
  await isLive(probe);
  await putAll(etcd, ledger, 20, "old");
  await reached(probe, ledger.last);
  const { epoch, cursor } = probe.resume;
  await etcd.wipe();
  ledger.clear();
  await ledger.put(etcd.client, "k0", "new");
  await expectNewStore(probe, ledger, epoch, cursor);
  expect(probe.epoch?.split(".")[0]).toBe(epoch.split(".")[0]);
  await ledger.put(etcd.client, "k1", "new");
  await reached(probe, ledger.last);
  ledger.checkState(probe);
});

etcdTest("a wiped etcd is another store although it has come past our revision", async () => {
  const etcd = await agedEtcd();
  const ledger = new Ledger("k");
  const source = () => quickSource({ endpoints: [etcd.endpoint], prefix: "k" });
  const first = follow(source());
  await isLive(first);
  await putAll(etcd, ledger, 20, "old");
  await reached(first, ledger.last);
  const { resume } = first;
  await first.stop();
  await etcd.wipe();
  ledger.clear();
  await putAll(etcd, ledger, 60, "new");
  expect(ledger.last).toBeGreaterThan(revisionOf(resume.cursor));
  const probe = follow(source(), resume);
  await expectNewStore(probe, ledger, resume.epoch, resume.cursor);
});

etcdTest("while this process lives, even a wiped etcd that looks alike is another store", async () => {
  // Never restarted: its log tells nothing about it.
  await using etcd = await startEtcd();
  const proxy = await tcpProxy({ target: etcd.endpoint });
  onTestFinished(() => proxy.close());
  const ledger = new Ledger("k");
  const probe = follow(quickSource({ endpoints: [proxy.endpoint], prefix: "k" }));
  await isLive(probe);
  await putAll(etcd, ledger, 20, "old");
  await reached(probe, ledger.last);
  const { epoch, cursor } = probe.resume;
  proxy.refuse();
  await etcd.wipe();
  ledger.clear();
  for (let index = 0; index < 40; index++) await ledger.put(etcd.client, "k0", `new${index}`);
  proxy.heal();
  await expectNewStore(probe, ledger, epoch, cursor);
});

etcdTest("an etcd that was restored from a backup is another store", async () => {
  const etcd = await agedEtcd();
  const file = await backupFile();
  const ledger = new Ledger("k");
  const probe = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "k" }));
  await isLive(probe);
  await putAll(etcd, ledger, 10, "kept");
  await etcd.saveBackup(file);
  const kept = ledger.last;
  await putAll(etcd, ledger, 10, "lost");
  await reached(probe, ledger.last);
  const { epoch, cursor } = probe.resume;
  await etcd.restoreBackup(file);
  ledger.restore(kept);
  await expectNewStore(probe, ledger, epoch, cursor);
});

etcdTest("an etcd that was restored is another store although it has come past our revision", async () => {
  const etcd = await agedEtcd();
  const file = await backupFile();
  const ledger = new Ledger("k");
  const source = () => quickSource({ endpoints: [etcd.endpoint], prefix: "k" });
  const first = follow(source());
  await isLive(first);
  await putAll(etcd, ledger, 10, "kept");
  await etcd.saveBackup(file);
  const kept = ledger.last;
  await putAll(etcd, ledger, 10, "lost");
  await reached(first, ledger.last);
  const { resume } = first;
  await first.stop();
  await etcd.restoreBackup(file);
  ledger.restore(kept);
  await putAll(etcd, ledger, 30, "new");
  expect(ledger.last).toBeGreaterThan(revisionOf(resume.cursor));
  // A new process knows nothing but the epoch and the cursor.
  const probe = follow(source(), resume);
  const { snapshot, known } = await expectNewStore(probe, ledger, resume.epoch, resume.cursor);
  await putAll(etcd, ledger, 3, "after");
  await reached(probe, ledger.last);
  expect(probe.groups.slice(known).map(({ cursor }) => revisionOf(cursor))).toEqual(
    [1n, 2n, 3n].map((n) => snapshot + n),
  );
  ledger.checkState(probe);
});

etcdTest("restarts of etcd and of us are no new store, however often", async () => {
  const etcd = await agedEtcd();
  const ledger = new Ledger("k");
  let resume: { readonly epoch: string; readonly cursor: string } | undefined;
  for (let round = 0; round < 3; round++) {
    const probe = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "k" }), resume);
    await isLive(probe);
    await putAll(etcd, ledger, 10, `${round}`);
    await reached(probe, ledger.last);
    expect(probe.gaps).toEqual([]);
    expect(probe.snapshots).toBe(round === 0 ? 1 : 0);
    resume = probe.resume;
    await probe.stop();
    await etcd.restart();
    await putAll(etcd, ledger, 5, "away");
  }
});

etcdTest("a proxy that leads to another cluster is noticed, there and back", async () => {
  const [a, b] = [await agedEtcd(), await agedEtcd()];
  const ledgers = [new Ledger("k"), new Ledger("k")] as const;
  await putAll(a, ledgers[0], 5, "a");
  await putAll(b, ledgers[1], 30, "b");
  const first = follow(quickSource({ endpoints: [a.endpoint], prefix: "k" }));
  await isLive(first);
  const epochs = [first.epoch];
  let { resume } = first;
  await first.stop();
  for (const [etcd, ledger] of [
    [b, ledgers[1]],
    [a, ledgers[0]],
  ] as const) {
    const probe = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "k" }), resume);
    await expectNewStore(probe, ledger, resume.epoch, resume.cursor);
    epochs.push(probe.epoch);
    ({ resume } = probe);
    await probe.stop();
  }
  expect(new Set(epochs).size).toBe(3);
});
