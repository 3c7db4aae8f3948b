import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@tidemark/clock";
import { sortableInteger } from "@tidemark/store-watch/contract";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished, test } from "vitest";
import { EtcdError, type EtcdSink, type EtcdSinkOptions, type EtcdSinkWrite, etcdSink } from "../src/index.ts";
import { startEtcd, tcpProxy } from "../src/testing.ts";
import { sharedEtcd } from "./support/harness.ts";

const etcdTest = serviceTest("etcd");
const shared = sharedEtcd();

const never = new AbortController().signal;
const bytes = (text: string) => Buffer.from(text);
const put = (key: string, value: string, expected?: bigint): EtcdSinkWrite => ({
  key: bytes(key),
  value: bytes(value),
  expected: expected === undefined ? undefined : sortableInteger(expected),
});
const remove = (key: string, expected: bigint): EtcdSinkWrite => ({
  key: bytes(key),
  value: undefined,
  expected: sortableInteger(expected),
});

function open(options: Partial<EtcdSinkOptions> & { readonly prefix: string }): EtcdSink {
  const sink = etcdSink({ endpoints: [shared.etcd.endpoint], requestTimeoutMs: 45_000, ...options });
  onTestFinished(() => sink.close());
  return sink;
}

async function valueOf(key: string): Promise<string | undefined> {
  const found = await shared.etcd.client.get(key);
  return found && Buffer.from(found.value).toString();
}

const codeOf = (error: unknown) => (EtcdError.is(error) ? error.code : String(error));

etcdTest("writes all or nothing, each key on the condition of its revision, at one revision", async () => {
  const sink = open({ prefix: "all/" });
  const made = await sink.apply([put("all/a", "1"), put("all/b", "1")], never);
  const at = (await shared.etcd.client.get("all/a"))?.modRevision as bigint;
  expect(made).toEqual({ isApplied: true, versions: [sortableInteger(at), sortableInteger(at)] });
  expect((await shared.etcd.client.get("all/b"))?.modRevision).toBe(at);

  // Somebody edits one of them.
  const edited = await shared.etcd.client.put("all/b", "local");
  expect(await sink.apply([put("all/a", "2", at), put("all/b", "2", at)], never)).toEqual({ isApplied: false });
  expect([await valueOf("all/a"), await valueOf("all/b")]).toEqual(["1", "local"]);
  expect(await sink.apply([put("all/b", "2")], never)).toEqual({ isApplied: false });

  const last = await sink.apply([put("all/a", "2", at), remove("all/b", edited)], never);
  const then = (await shared.etcd.client.get("all/a"))?.modRevision as bigint;
  expect(last).toEqual({ isApplied: true, versions: [sortableInteger(then), sortableInteger(then)] });
  expect([await valueOf("all/a"), await valueOf("all/b")]).toEqual(["2", undefined]);
  // The deleted key has no revision any more, so the old condition does not hold again.
  expect(await sink.apply([remove("all/b", edited)], never)).toEqual({ isApplied: false });
});

etcdTest("of writers at the same time one wins each time, and nothing is overwritten unseen", async () => {
  const sinks = [open({ prefix: "race/" }), open({ prefix: "race/" }), open({ prefix: "race/" })];
  let made = 0;
  await Promise.all(
    sinks.map(async (sink, index) => {
      for (let round = 0; round < 40; ) {
        const found = await shared.etcd.client.get("race/n");
        const n = Number(found === undefined ? 0 : Buffer.from(found.value).toString());
        const { isApplied } = await sink.apply([put("race/n", String(n + 1), found?.modRevision)], never);
        if (!isApplied) continue;
        round++;
        made++;
        if (index === 0 && round % 10 === 0) await shared.etcd.client.put("race/other", "noise");
      }
    }),
  );
  expect(await valueOf("race/n")).toBe(String(made));
});

etcdTest(
  "more writes than one transaction takes are refused before anything is sent, until both sides are told",
  async () => {
    const many = Array.from({ length: 129 }, (_, index) => put(`many/${index}`, "1"));
    const sink = open({ prefix: "many/" });
    await expect(sink.apply(many, never)).rejects.toThrow(
      /\[TOO_LARGE\].*129 writes.*--max-txn-ops.*maxTransactionOps/,
    );
    const error = await open({ prefix: "many/", maxTransactionOps: 200 })
      .apply(many, never)
      .catch((thrown: unknown) => thrown);
    expect([codeOf(error), EtcdError.is(error) && error.retryable]).toEqual(["TOO_LARGE", false]);
    expect((await shared.etcd.client.list("many/")).kvs).toEqual([]);

    await using etcd = await startEtcd({ args: ["--max-txn-ops=200"] });
    const wide = open({ prefix: "many/", endpoints: [etcd.endpoint], maxTransactionOps: 200 });
    expect(await wide.apply(many, never)).toMatchObject({ isApplied: true });
    expect((await etcd.client.list("many/")).kvs).toHaveLength(129);

    const huge = [put("many/huge", "x".repeat(1_600_000))];
    expect(codeOf(await sink.apply(huge, never).catch((thrown: unknown) => thrown))).toBe("TOO_LARGE");
  },
);

etcdTest("keys that are not followed there are refused", async () => {
  await expect(open({ prefix: "mine/" }).apply([put("mine0", "1")], never)).rejects.toThrow(/\[REFUSED\].*mine0/);
  await expect(open({ prefix: "mine/" }).apply([put("a", "1")], never)).rejects.toThrow(/\[REFUSED\]/);
  expect(await open({ prefix: "" }).apply([put("anything", "1")], never)).toMatchObject({ isApplied: true });
});

etcdTest("when the answer was lost it looks, and knows what it wrote", async () => {
  const proxy = await tcpProxy({ target: shared.etcd.endpoint });
  onTestFinished(() => proxy.close());
  const sink = open({ prefix: "lost/", endpoints: [proxy.endpoint, shared.etcd.endpoint] });
  const first = await sink.apply([put("lost/a", "1"), put("lost/gone", "1")], never);
  expect(first).toMatchObject({ isApplied: true });
  const at = (await shared.etcd.client.get("lost/a"))?.modRevision as bigint;
  // The request goes through, the answer does not.
  proxy.loseAnswers();
  const applying = sink.apply([put("lost/a", "2", at), remove("lost/gone", at)], never);
  await expect.poll(() => valueOf("lost/a")).toBe("2");
  proxy.cut();
  const second = await applying;
  const then = (await shared.etcd.client.get("lost/a"))?.modRevision as bigint;
  expect(then).toBe(at + 1n);
  expect(second).toEqual({ isApplied: true, versions: [sortableInteger(then), sortableInteger(then)] });
});

etcdTest("when nobody can know it says so, and a second try on the same condition is made once", async () => {
  const proxy = await tcpProxy({ target: shared.etcd.endpoint });
  onTestFinished(() => proxy.close());
  const sink = open({ prefix: "unknown/", endpoints: [proxy.endpoint] });
  const impatient = open({ prefix: "unknown/", endpoints: [proxy.endpoint], requestTimeoutMs: 300 });
  const isConnected = () =>
    impatient.position(never).then(
      () => true,
      () => false,
    );
  await sink.apply([put("unknown/a", "1")], never);
  const at = (await shared.etcd.client.get("unknown/a"))?.modRevision as bigint;
  await expect.poll(isConnected).toBe(true);
  proxy.blackHole();
  const error = await impatient.apply([put("unknown/a", "2", at)], never).catch((thrown: unknown) => thrown);
  expect([codeOf(error), EtcdError.is(error) && error.retryable]).toEqual(["SILENT", true]);
  expect(await valueOf("unknown/a")).toBe("1");
  proxy.heal();
  await expect.poll(isConnected).toBe(true);
  // Its connection was cut, too, and says so once.
  await sink.position(never).catch(() => {});
  expect(await sink.apply([put("unknown/a", "2", at)], never)).toMatchObject({ isApplied: true });
  expect(await sink.apply([put("unknown/a", "2", at)], never)).toEqual({ isApplied: false });

  // What only deletes leaves no trace of who did it.
  const now = (await shared.etcd.client.get("unknown/a"))?.modRevision as bigint;
  proxy.loseAnswers();
  const removing = sink.apply([remove("unknown/a", now)], never);
  removing.catch(() => {});
  await expect.poll(() => valueOf("unknown/a")).toBeUndefined();
  proxy.cut();
  await expect(removing).rejects.toThrow(/UNREACHABLE/);
});

etcdTest(
  "etcd is killed again and again while it is written to: what was reported is there, and nothing twice",
  async () => {
    await using etcd = await startEtcd();
    const sink = open({ prefix: "k/", endpoints: [etcd.endpoint] });
    const rounds = process.env["TIDEMARK_LONG"] === "1" ? 20 : 3;
    const reported = new Map<string, string>();
    let isOver = false;
    let unknown = 0;
    const writing = (async () => {
      for (let n = 0; !isOver; n++) {
        const key = `k/${n}`;
        for (;;) {
          try {
            const result = await sink.apply([put(key, "1")], never);
            // Refused: an earlier try, whose answer was lost, was made.
            if (result.isApplied) reported.set(key, result.versions[0] as string);
            break;
          } catch (error) {
            if (!EtcdError.is(error) || !error.retryable) throw error;
            unknown++;
            await systemClock.sleep(20);
          }
        }
      }
    })();
    for (let round = 0; round < rounds; round++) {
      const target = reported.size + 50;
      while (reported.size < target) await Promise.race([systemClock.sleep(5), writing]);
      await etcd.restart();
    }
    isOver = true;
    await writing;
    expect(unknown).toBeGreaterThan(0);
    const { kvs } = await etcd.client.list("k/");
    for (const { key, modRevision, version } of kvs) {
      expect(version).toBe(1n);
      const name = Buffer.from(key).toString();
      if (reported.has(name)) expect(reported.get(name)).toBe(sortableInteger(modRevision));
      reported.delete(name);
    }
    expect([...reported]).toEqual([]);
  },
);

etcdTest("says at which revision etcd is, after everything that it wrote, and changes nothing by asking", async () => {
  const proxy = await tcpProxy({ target: shared.etcd.endpoint });
  onTestFinished(() => proxy.close());
  for (const prefix of ["position/", ""]) {
    const sink = open({ prefix, endpoints: [proxy.endpoint] });
    const made = await sink.apply([put(`position/${prefix.length}`, "1")], never);
    const at = await sink.position(never);
    expect(made).toEqual({ isApplied: true, versions: [at] });
    // Others write elsewhere.
    const elsewhere = await shared.etcd.client.put("elsewhere", "1");
    expect(await sink.position(never)).toBe(sortableInteger(elsewhere));
    expect(await sink.position(never)).toBe(sortableInteger(elsewhere));
    const cut = proxy.cutAfter(1);
    await expect(sink.position(never)).rejects.toMatchObject({ code: "UNREACHABLE", retryable: true });
    await cut;
    // It connects anew.
    expect(await sink.position(never)).toBe(sortableInteger(elsewhere));
  }
});

etcdTest("who may not write is told so, and writes when he may", async () => {
  await using etcd = await startEtcd();
  await etcd.enableAuth("root-secret", [
    { user: "reader", password: "reader-secret", prefix: "mine/", may: "read" },
    { user: "writer", password: "writer-secret", prefix: "mine/" },
  ]);
  const as = (user: string) =>
    open({ prefix: "mine/", endpoints: [etcd.endpoint], credentials: { user, password: `${user}-secret` } });
  await expect(as("reader").apply([put("mine/a", "1")], never)).rejects.toThrow(/\[PERMISSION_DENIED\].*readwrite/);
  expect(await as("writer").apply([put("mine/a", "1")], never)).toMatchObject({ isApplied: true });
  expect(await as("writer").position(never)).toBe(
    sortableInteger((await etcd.client.get("mine/a"))?.modRevision ?? 0n),
  );
});

test("options are checked", () => {
  const of = (options: Partial<EtcdSinkOptions>) => etcdSink({ endpoints: ["127.0.0.1:1"], prefix: "", ...options });
  expect(() => of({ maxTransactionOps: 0 })).toThrow(/\[OPTIONS_INVALID\] maxTransactionOps/);
  expect(() => of({ requestTimeoutMs: 0 })).toThrow(/\[OPTIONS_INVALID\] requestTimeoutMs/);
  expect(() => etcdSink({ endpoints: ["127.0.0.1:1"] })).toThrow(/prefix or range/);
});

test("after close it writes nothing", async () => {
  const sink = etcdSink({ endpoints: ["127.0.0.1:1"], prefix: "" });
  sink.close();
  await expect(sink.apply([put("a", "1")], never)).rejects.toThrow(/closed/);
});

etcdTest("a connection that came to nothing is not kept: the next call takes the next endpoint", async () => {
  const web = createServer((_, response) => response.end("hello"));
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    web.closeAllConnections();
    web.close();
  });
  const { port } = web.address() as AddressInfo;
  const endpoints = [`http://127.0.0.1:${port}`, shared.etcd.endpoint];
  const writer = open({ prefix: "next/", endpoints });
  await expect(writer.apply([put("next/a", "1")], never)).rejects.toMatchObject({ code: "NOT_ETCD" });
  expect(await writer.apply([put("next/a", "1")], never)).toMatchObject({ isApplied: true });
  const asker = open({ prefix: "next/", endpoints });
  await expect(asker.position(never)).rejects.toMatchObject({ code: "NOT_ETCD" });
  expect(await asker.position(never)).toBe(sortableInteger(await shared.etcd.client.revision()));
});

etcdTest("a write whose connection broke does not break the connection of the next one", async () => {
  const proxy = await tcpProxy({ target: shared.etcd.endpoint });
  onTestFinished(() => proxy.close());
  const sink = open({ prefix: "both/", endpoints: [proxy.endpoint] });
  for (let round = 0; round < 20; round++) {
    proxy.loseAnswers();
    const keys = ["a", "b", "c"].map((key) => `both/${round}${key}`);
    const made = keys.map((key) => sink.apply([put(key, "1")], never));
    await expect.poll(async () => (await shared.etcd.client.list(`both/${round}`)).kvs.length).toBe(3);
    proxy.heal();
    expect(await Promise.all(made)).toEqual(keys.map(() => expect.objectContaining({ isApplied: true })));
  }
});
