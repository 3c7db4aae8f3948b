import { systemClock } from "@tidemark/clock";
import { seededRng } from "@tidemark/clock";
import { parseSortableInteger } from "@tidemark/store-watch/contract";
import { keyId } from "@tidemark/store-watch/testing";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import {
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

etcdTest("goes from the snapshot to the stream without a gap under concurrent writes", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("concurrent/");
  const write = (index: number) => ledger.put(client, `concurrent/${index % 50}`, `${index}`);
  await inParallel(300, write);
  const writing = inParallel(2_000, write, 8);
  const probe = follow(quickSource({ endpoints: [endpoint], prefix: "concurrent/" }));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  const snapshot = revisionOf(probe.cursor);
  await writing;
  await reached(probe, ledger.last);
  expect(probe.snapshots).toBe(1);
  expect(probe.gaps).toEqual([]);
  expect(probe.groups.length).toBeGreaterThan(0);
  ledger.check(probe, snapshot);
});

etcdTest("keeps binary keys and values byte for byte", async () => {
  const { client, endpoint } = shared.etcd;
  const prefix = Uint8Array.of(0xff, 0x00, 0xfe);
  const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const keys = [
    prefix,
    Uint8Array.of(...prefix, 0),
    Uint8Array.of(...prefix, 0xff),
    Uint8Array.of(...prefix, ...every),
  ];
  const ledger = new Ledger(prefix);
  for (const key of keys.slice(0, 2)) await ledger.put(client, key, every);
  await client.put(Uint8Array.of(0xff, 0x00, 0xfd), "not ours");
  await client.put(Uint8Array.of(0xff, 0x00, 0xff), "not ours");
  const probe = follow(quickSource({ endpoints: [endpoint], prefix }));
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  expect(probe.state.size).toBe(2);
  for (const key of keys.slice(2)) await ledger.put(client, key, every);
  await ledger.put(client, keys[0] as Uint8Array, "");
  await ledger.delete(client, keys[1] as Uint8Array);
  await reached(probe, ledger.last);
  ledger.check(probe, snapshot);
});

etcdTest("follows a range to its end and not beyond", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger();
  await client.put("range/a", "before");
  ledger.note(await client.put("range/b", "1"), [{ key: "range/b", value: "1" }]);
  const probe = follow(quickSource({ endpoints: [endpoint], range: { start: "range/b", end: "range/d" } }));
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  await ledger.put(client, "range/c", "2");
  await client.put("range/d", "behind");
  await ledger.put(client, "range/b", "3");
  await reached(probe, ledger.last);
  ledger.check(probe, snapshot);
});

etcdTest("hands on a transaction whole, as one group", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("txn/");
  for (let index = 0; index < 100; index++) await ledger.put(client, `txn/${index}`, "0");
  const probe = follow(quickSource({ endpoints: [endpoint], prefix: "txn/" }));
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  for (let round = 1; round <= 5; round++) {
    const writes = Array.from({ length: 100 }, (_, index) =>
      index % 10 === round ? { key: `txn/${index}` } : { key: `txn/${index}`, value: `${round}` },
    );
    await ledger.txn(client, [...writes, { key: `elsewhere/${round}`, value: "x" }]);
    for (const { key, value } of writes) if (value === undefined) await ledger.put(client, key, "back");
  }
  await reached(probe, ledger.last);
  expect(probe.groups.map(({ changes }) => changes.length)).toContain(100);
  ledger.check(probe, snapshot);
});

etcdTest("reads a snapshot page by page, and its rows say when a key was made", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("pages/");
  await inParallel(1_500, (index) => ledger.put(client, `pages/${index}`, "v".repeat(index % 7 === 0 ? 3_000 : 10)));
  const lease = await client.grantLease(600);
  const leased = await client.put("pages/leased", "1", lease);
  ledger.note(leased, [{ key: "pages/leased", value: "1" }]);
  const attributes = new Map<string, string | undefined>();
  const source = quickSource({ endpoints: [endpoint], prefix: "pages/" });
  const probe = follow(source);
  const write = probe.write.bind(probe);
  probe.write = (frame) => {
    if (frame.type === "change") attributes.set(keyId(frame.key), frame.attributes);
    return write(frame);
  };
  await isLive(probe);
  ledger.checkState(probe);
  expect(JSON.parse(attributes.get(Buffer.from("pages/leased").toString("hex")) ?? "")).toEqual({
    create_revision: `${leased}`,
    version: "1",
    lease: `${lease}`,
  });
  const revoked = await client.revokeLease(lease);
  ledger.note(revoked, [{ key: "pages/leased" }]);
  await reached(probe, revoked);
  ledger.checkState(probe);
});

etcdTest("H11: reads no further while the sink has no room, and goes on where it was", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("room/");
  const value = "v".repeat(20_000);
  await inParallel(500, (index) => ledger.put(client, `room/${index}`, value));
  const probe = follow(quickSource({ endpoints: [endpoint], prefix: "room/", ...impatient }));
  probe.hold();
  await probe.until("a request for room", () => probe.roomRequests === 1);
  const framesThen = probe.frames;
  // 20 MB are on their way; what fits into the windows may come, but nothing may be handed on.
  await systemClock.sleep(300);
  expect(probe.frames).toBe(framesThen);
  probe.release();
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  const asked = probe.roomRequests;
  probe.hold();
  await inParallel(500, (index) => ledger.put(client, `room/${index}`, `${value}${index}`));
  await probe.until("a request for room in the stream", () => probe.roomRequests > asked);
  const said = probe.statuses.length;
  // For longer than silence may last: it is we who do not listen.
  await systemClock.sleep(impatient.silenceTimeoutMs + 500);
  expect(probe.statuses.slice(said)).toEqual([]);
  probe.release();
  await reached(probe, ledger.last);
  expect(probe.framesWhileAsking).toBe(0);
  ledger.check(probe, snapshot);
});

etcdTest("takes a response of large values piece by piece", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("large/");
  const source = () => quickSource({ endpoints: [endpoint], prefix: "large/" });
  const first = follow(source());
  await isLive(first);
  const { resume } = first;
  await first.stop();
  const rng = seededRng(7);
  for (let round = 0; round < 40; round++) {
    await ledger.txn(client, [
      { key: `large/${round % 5}`, value: rng.bytes(700_000) },
      { key: `large/x${round % 3}`, value: rng.bytes(700_000) },
    ]);
  }
  const probe = follow(source(), resume);
  await reached(probe, ledger.last);
  expect(probe.statuses.filter(({ state }) => state === "waiting")).toEqual([]);
  ledger.check(probe, parseSortableInteger(resume.cursor));
});

etcdTest("lets etcd split a backlog of several large responses", async () => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("many/");
  const source = () => quickSource({ endpoints: [endpoint], prefix: "many/" });
  const first = follow(source());
  await isLive(first);
  const { resume } = first;
  await first.stop();
  // etcd puts 1000 revisions into one response.
  const value = Buffer.from(seededRng(8).bytes(10_000));
  const puts = Array.from({ length: 1_100 }, (_, index) => ledger.put(client, `many/${index % 7}`, value));
  await Promise.all(puts);
  const probe = follow(source(), resume);
  await reached(probe, ledger.last);
  expect(probe.statuses.map((status) => (status.state === "waiting" ? status.error : ""))).toContainEqual(
    expect.stringContaining("Asking for it in fragments."),
  );
  ledger.check(probe, parseSortableInteger(resume.cursor));
});

etcdTest("a barrier is passed although nothing changes in the range", async ({ signal }) => {
  const { client, endpoint } = shared.etcd;
  await client.put("barrier/a", "1");
  const source = quickSource({ endpoints: [endpoint], prefix: "barrier/" });
  const early = source.barrier(signal);
  const probe = follow(source);
  await probe.reached(await early);
  for (let round = 0; round < 3; round++) {
    const elsewhere = await client.put("elsewhere/barrier", `${round}`);
    const point = await source.barrier(signal);
    expect(revisionOf(point.cursor)).toBeGreaterThanOrEqual(elsewhere);
    await probe.reached(point);
    const mine = await client.put("barrier/a", `${round}`);
    const own = await source.barrier(signal);
    expect(revisionOf(own.cursor)).toBeGreaterThanOrEqual(mine);
    await probe.reached(own);
    expect(probe.state.get(Buffer.from("barrier/a").toString("hex"))).toEqual(Uint8Array.from(Buffer.from(`${round}`)));
  }
  expect(probe.gaps).toEqual([]);
});

etcdTest("barriers under concurrent writes are never ahead of the changes", async ({ signal }) => {
  const { client, endpoint } = shared.etcd;
  const ledger = new Ledger("busy/");
  await ledger.put(client, "busy/0", "first");
  const source = quickSource({ endpoints: [endpoint], prefix: "busy/" });
  const probe = follow(source);
  await isLive(probe);
  const snapshot = revisionOf(probe.cursor);
  let isDone = false;
  const writing = inParallel(
    600,
    async (index) => {
      if (index % 3 === 0) await client.put(`elsewhere/${index}`, "x");
      else await ledger.put(client, `busy/${index % 20}`, `${index}`);
    },
    4,
  ).finally(() => {
    isDone = true;
  });
  while (!isDone) await probe.reached(await source.barrier(signal));
  await writing;
  await probe.reached(await source.barrier(signal));
  ledger.check(probe, snapshot);
});
