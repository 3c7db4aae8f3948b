import { seededRng, systemClock } from "@tidemark/clock";
import { parseSortableInteger } from "@tidemark/store-watch/contract";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished } from "vitest";
import { startEtcd, type TcpProxy, tcpProxy } from "../src/testing.ts";
import {
  complaint,
  follow,
  impatient,
  inParallel,
  isLive,
  quickSource,
  reached,
  revisionOf,
  sharedEtcd,
} from "./support/harness.ts";
import { Ledger } from "./support/ledger.ts";

const etcdTest = serviceTest("etcd");
const shared = sharedEtcd();
const isLong = process.env["TIDEMARK_LONG"] === "1";
const longer = isLong ? 600_000 : 120_000;

async function proxied(target = shared.etcd.endpoint): Promise<TcpProxy> {
  const proxy = await tcpProxy({ target });
  onTestFinished(() => proxy.close());
  return proxy;
}

/** A resume point at which the prefix is empty. */
async function beginning(prefix: string) {
  const probe = follow(quickSource({ endpoints: [shared.etcd.endpoint], prefix }));
  await isLive(probe);
  const { resume } = probe;
  await probe.stop();
  return resume;
}

etcdTest(
  "loses nothing of a 5001-revision backlog when it is cut again and again at any byte",
  async () => {
    const { client } = shared.etcd;
    const ledger = new Ledger("backlog/");
    const from = await beginning("backlog/");
    await inParallel(5_001, (index) => ledger.put(client, `backlog/${index % 700}`, `${index}`), 64);
    const proxy = await proxied();
    const source = quickSource({ endpoints: [proxy.endpoint], prefix: "backlog/" });
    // All of it once, to know how many bytes there are to be cut at.
    const whole = follow(source, from);
    await reached(whole, ledger.last);
    ledger.check(whole, parseSortableInteger(from.cursor));
    await whole.stop();
    const bytes = proxy.stats.bytesDown;
    const seed = Number(process.env["TIDEMARK_SEED"] ?? 1);
    const rng = seededRng(seed);
    for (let round = 0; round < (isLong ? 100 : 2); round++) {
      const cuts = Array.from({ length: 3 }, () => rng.int(1, Math.floor(bytes / 2)));
      const probe = follow(source, from);
      for (const cut of cuts) {
        await Promise.race([proxy.cutAfter(cut), reached(probe, ledger.last)]);
      }
      await reached(probe, ledger.last);
      expect(probe.gaps, `seed ${seed}, cut at ${cuts.join()}`).toEqual([]);
      expect(probe.snapshots, `seed ${seed}, cut at ${cuts.join()}`).toBe(0);
      ledger.check(probe, parseSortableInteger(from.cursor));
      await probe.stop();
      proxy.heal();
    }
  },
  longer,
);

etcdTest("V7: takes back half a transaction when it is cut inside a response", async () => {
  const { client } = shared.etcd;
  const ledger = new Ledger("fragment/");
  const from = await beginning("fragment/");
  const rng = seededRng(3);
  // One response, which is read in pieces that end anywhere in its transactions of 1.4 MB.
  for (let round = 0; round < 26; round++) {
    const keys = Array.from({ length: 14 }, (_, index) => `fragment/${index}`);
    await ledger.txn(
      client,
      keys.map((key) => ({ key, value: rng.bytes(100_000) })),
    );
  }
  const proxy = await proxied();
  const probe = follow(quickSource({ endpoints: [proxy.endpoint], prefix: "fragment/" }), from);
  const write = probe.write.bind(probe);
  let discards = 0;
  let sinceBoundary = 0;
  probe.write = (frame) => {
    if (frame.type === "discard") discards++;
    sinceBoundary = frame.type === "change" ? sinceBoundary + 1 : 0;
    // What was received already is still handed on, so most cuts show one or two transactions later.
    if (sinceBoundary === 7 && discards < 5) proxy.cut();
    return write(frame);
  };
  await reached(probe, ledger.last);
  expect(discards).toBeGreaterThan(0);
  expect(probe.gaps).toEqual([]);
  ledger.check(probe, parseSortableInteger(from.cursor));
});

etcdTest("tells once what was compacted away while nobody was connected, and starts over", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("compacted/");
  await ledger.put(client, "compacted/stays", "1");
  await ledger.put(client, "compacted/goes", "1");
  const source = () => quickSource({ endpoints: [endpoint], prefix: "compacted/" });
  const first = follow(source());
  await isLive(first);
  const { resume } = first;
  await first.stop();
  await ledger.delete(client, "compacted/goes");
  for (let index = 0; index < 20; index++) await ledger.put(client, "compacted/stays", `${index}`);
  const compacted = await shared.etcd.compact();
  const probe = follow(source(), resume);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(probe.gaps).toHaveLength(1);
  expect(probe.gaps[0]).toMatchObject({ reason: "compacted", from: resume.cursor });
  expect(revisionOf(probe.gaps[0]?.to)).toBe(compacted);
  expect(probe.epoch).toBe(resume.epoch);
  expect(probe.snapshots).toBe(1);
  const snapshot = revisionOf(probe.cursor);
  await ledger.put(client, "compacted/after", "1");
  await reached(probe, ledger.last);
  expect(probe.gaps).toHaveLength(1);
  ledger.check(probe, snapshot);
});

etcdTest("tells a gap once although the snapshot after it is cut", async () => {
  const { client } = shared.etcd;
  const ledger = new Ledger("gap-once/");
  const from = await beginning("gap-once/");
  await inParallel(600, (index) => ledger.put(client, `gap-once/${index}`, "v".repeat(2_000)));
  await shared.etcd.compact();
  const proxy = await proxied();
  const probe = follow(quickSource({ endpoints: [proxy.endpoint], prefix: "gap-once/" }), from);
  await proxy.cutAfter(300_000);
  await proxy.cutAfter(600_000);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(probe.gaps.map(({ reason }) => reason)).toEqual(["compacted"]);
  ledger.checkState(probe);
});

etcdTest("a compaction of what was seen already is no gap", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("seen/");
  await ledger.put(client, "seen/a", "1");
  await ledger.put(client, "seen/b", "1");
  await ledger.delete(client, "seen/a");
  const source = () => quickSource({ endpoints: [endpoint], prefix: "seen/" });
  const first = follow(source());
  await isLive(first);
  await ledger.delete(client, "seen/b");
  await reached(first, ledger.last);
  const { resume } = first;
  await first.stop();
  await shared.etcd.compact(ledger.last);
  await ledger.put(client, "seen/c", "1");
  const probe = follow(source(), resume);
  await reached(probe, ledger.last);
  expect(probe.gaps).toEqual([]);
  expect(probe.snapshots).toBe(0);
});

etcdTest("the deletion at a compacted revision is not lost without a word", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("tombstone/");
  await ledger.put(client, "tombstone/a", "1");
  const source = () => quickSource({ endpoints: [endpoint], prefix: "tombstone/" });
  const first = follow(source());
  await reached(first, ledger.last);
  const { resume } = first;
  await first.stop();
  // etcd lets a watch begin at the revision of a compaction, and 3.4.23 has forgotten the deletion there.
  const deletion = await ledger.delete(client, "tombstone/a");
  await shared.etcd.compact(deletion);
  const probe = follow(source(), resume);
  await reached(probe, deletion);
  ledger.checkState(probe);
});

etcdTest("notices what etcd 3.4.23 skips without a word when a compaction passes a full queue", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("skipped/");
  const probe = follow(quickSource({ endpoints: [endpoint], prefix: "skipped/", windowBytes: 65_535 }));
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  probe.hold();
  // More than the windows of the connection and the queue of 128 responses inside etcd can take.
  const value = "v".repeat(200_000);
  const count = 160;
  for (let index = 0; index < count; index++) await ledger.put(client, `skipped/${index % 10}`, `${index}${value}`);
  await shared.etcd.compact();
  for (let index = 0; index < 10; index++) await ledger.put(client, `skipped/${index}`, `last ${index}`);
  // One response at a time leaves room for one at a time: the queue is full whenever etcd looks after the watch.
  for (let step = 0; step < 8; step++) {
    await systemClock.sleep(250);
    probe.release();
    probe.hold();
  }
  await ledger.put(client, "skipped/end", "1");
  probe.release();
  await reached(probe, ledger.last);
  expect(probe.groups.length, "nothing was skipped: the test is wrong").toBeLessThan(count);
  expect(probe.gaps.map(({ reason }) => reason)).toEqual(["compacted"]);
  expect(revisionOf(probe.gaps[0]?.from)).toBeGreaterThanOrEqual(snapshot);
  ledger.checkState(probe);
});

etcdTest(
  "follows on through SIGKILL and a restart of etcd",
  async () => {
    await using etcd = await startEtcd();
    const ledger = new Ledger();
    const probe = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "" }));
    await isLive(probe);
    const snapshot = revisionOf(probe.cursor);
    for (let round = 0; round < (isLong ? 20 : 2); round++) {
      for (let index = 0; index < 50; index++) await ledger.put(etcd.client, `k${index}`, `${round}`);
      await etcd.kill9();
      await complaint(probe, "is etcd running there?");
      await etcd.start();
      for (let index = 0; index < 50; index++) await ledger.put(etcd.client, `k${index}`, `${round}+`);
    }
    await reached(probe, ledger.last);
    expect(probe.gaps).toEqual([]);
    expect(probe.snapshots).toBe(1);
    ledger.check(probe, snapshot);
  },
  longer,
);

etcdTest("H12: notices a frozen etcd in time, and goes on when it thaws", async () => {
  await using etcd = await startEtcd();
  const ledger = new Ledger();
  const probe = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "", ...impatient }));
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  await ledger.put(etcd.client, "a", "1");
  await reached(probe, ledger.last);
  etcd.freeze();
  // Counted in turns of a timer: a machine so busy that it makes the source late makes fewer of them, too.
  let turns = 0;
  const timer = setInterval(() => turns++, 100);
  onTestFinished(() => clearInterval(timer));
  await complaint(probe, "has said nothing for 1.5 s");
  expect(turns).toBeLessThan(40);
  await complaint(probe, /does not answer|did not answer/);
  etcd.thaw();
  await isLive(probe);
  await ledger.put(etcd.client, "a", "2");
  await reached(probe, ledger.last);
  ledger.check(probe, snapshot);
});

etcdTest("H12: notices a half-open connection, and goes on when the network is back", async () => {
  const { client } = shared.etcd;
  const ledger = new Ledger("hole/");
  const proxy = await proxied();
  const probe = follow(quickSource({ endpoints: [proxy.endpoint], prefix: "hole/", ...impatient }));
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  await ledger.put(client, "hole/a", "1");
  await reached(probe, ledger.last);
  proxy.blackHole();
  await ledger.put(client, "hole/a", "2");
  await complaint(probe, "has said nothing for 1.5 s");
  proxy.heal();
  await ledger.put(client, "hole/a", "3");
  await reached(probe, ledger.last);
  ledger.check(probe, snapshot);
});

etcdTest("an idle connection lives as long as etcd answers", async () => {
  const { endpoint } = shared.etcd;
  // Signs of life come at most so often: so many of them take longer than the silence that would be its end.
  const [heartbeatIntervalMs, silenceTimeoutMs, signs] = [500, 4_000, 10];
  const probe = follow(quickSource({ endpoints: [endpoint], prefix: "idle/", heartbeatIntervalMs, silenceTimeoutMs }));
  await isLive(probe);
  let seen = 0;
  const done = Promise.withResolvers<void>();
  probe.alive = () => void (++seen === signs && done.resolve());
  await done.promise;
  expect(probe.statuses.at(-1)).toEqual({ state: "live" });
  expect(probe.statuses.filter(({ state }) => state === "waiting")).toEqual([]);
});

etcdTest("takes the next endpoint when one fails", async () => {
  const { client } = shared.etcd;
  const ledger = new Ledger("failover/");
  const [a, b] = [await proxied(), await proxied()];
  const dead = await proxied();
  dead.refuse();
  const endpoints = [a.endpoint, dead.endpoint, b.endpoint];
  const probe = follow(quickSource({ endpoints, prefix: "failover/" }));
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  expect([a.stats.open, b.stats.open]).toEqual([1, 0]);
  a.refuse();
  await ledger.put(client, "failover/a", "1");
  await reached(probe, ledger.last);
  expect([a.stats.open, b.stats.open]).toEqual([0, 1]);
  expect(probe.statuses.some((status) => status.state === "waiting" && status.error.includes(`${dead.port}`))).toBe(
    true,
  );
  a.heal();
  b.refuse();
  await ledger.put(client, "failover/a", "2");
  await reached(probe, ledger.last);
  expect([a.stats.open, b.stats.open]).toEqual([1, 0]);
  ledger.check(probe, snapshot);
});

etcdTest("begins a snapshot again that was cut in the middle", async () => {
  const { client } = shared.etcd;
  const ledger = new Ledger("again/");
  await inParallel(1_000, (index) => ledger.put(client, `again/${index}`, "v".repeat(2_000)));
  const proxy = await proxied();
  const probe = follow(quickSource({ endpoints: [proxy.endpoint], prefix: "again/" }));
  await proxy.cutAfter(900_000);
  await proxy.cutAfter(1_500_000);
  await isLive(probe);
  expect(probe.snapshots).toBe(1);
  expect(probe.gaps).toEqual([]);
  ledger.checkState(probe);
});
