import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type SeededRng, seededRng } from "@tidemark/clock";
import { type EtcdClient, startEtcd } from "@tidemark/source-etcd/testing";
import { openHistory, parseSortableInteger } from "@tidemark/store-watch";
import { createStoreClient, openStore } from "@tidemark/watch-server";
import { serviceTest } from "@tidemark/tooling/services";
import Sqlite from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { spawnCli, startDaemon, testFolder, tidemark, until } from "./support.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const rounds = isLong ? 200 : 10;
const timeoutMs = isLong ? 3_600_000 : 240_000;
const seed = Number(process.env["TIDEMARK_SEED"] ?? (isLong ? Date.now() % 1_000_000 : 1));

/** One write as its client saw it. */
interface Write {
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
  /** Undefined: the answer never came, so it may have happened or not. */
  revision: bigint | undefined;
}

/** One version as the history has it. */
interface Known {
  readonly revision: bigint;
  readonly key: string;
  readonly value: string | undefined;
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

/** Everything in a replica: the log in its order, and what is live. */
async function readReplica(
  folder: string,
): Promise<{ readonly log: readonly Known[]; readonly live: ReadonlyMap<string, string>; readonly gaps: number }> {
  await using history = await openHistory({ file: join(folder, "replica.db") });
  const log: Known[] = [];
  for (let after = 0n; ; ) {
    const { items } = await history.changes(after, { limit: 1000 });
    if (items.length === 0) break;
    for (const { key, value, version } of items) {
      log.push({ revision: parseSortableInteger(version), key: text(key), value: value && text(value) });
    }
    after = items.at(-1)?.position ?? after;
  }
  const live = new Map<string, string>();
  for (let after: string | undefined; ; ) {
    const { items, next } = await history.list({}, after === undefined ? {} : { after });
    for (const { key, value } of items) live.set(text(key), text(value ?? new Uint8Array()));
    if (next === undefined) break;
    after = next;
  }
  return { log, live, gaps: (await history.gaps()).length };
}

/** Each key's versions are exactly its writes, in order; a write without an answer may be missing. */
function expectListOfWhatWasDone(log: readonly Known[], writes: readonly Write[]): void {
  const answered = new Map(
    writes.filter(({ revision }) => revision !== undefined).map((write) => [`${write.revision} ${write.key}`, write]),
  );
  const unanswered = writes.filter(({ revision }) => revision === undefined);
  let last = 0n;
  for (const { revision, key, value } of log) {
    expect(revision, "the log is in the order of revisions").toBeGreaterThanOrEqual(last);
    last = revision;
    const name = `${revision} ${key}`;
    const write =
      answered.get(name) ??
      unanswered.find((each) => each.key === key && each.value === value && each.revision === undefined);
    expect(write, `revision ${revision} of ${key} was written by nobody`).toBeDefined();
    expect(value, `revision ${revision} of ${key}`).toBe(write?.value);
    // Each may be found once.
    if (!answered.delete(name) && write !== undefined) write.revision = revision;
  }
  expect([...answered.keys()], "acknowledged writes that the history does not have").toEqual([]);
}

/** A start that gets as far as chance will have it. */
async function killWhileStarting(args: readonly string[], rng: SeededRng): Promise<void> {
  const child = spawnCli(["up", "--listen", "127.0.0.1:0", "--log-level", "error", ...args]);
  const closed = once(child, "close");
  await new Promise((resolve) => setTimeout(resolve, 150 + rng.float() * 800));
  child.kill("SIGKILL");
  await closed;
}

test(`SIGKILL at ${rounds} random moments loses nothing of the embedded store`, { timeout: timeoutMs }, async () => {
  console.info(`seed ${seed}`);
  const rng = seededRng(seed);
  const folder = testFolder();
  const writes: Write[] = [];
  for (let round = 0; round < rounds; round++) {
    if (rng.float() < 0.3)
      await killWhileStarting(
        ["--data", folder, "--watch-listen", "127.0.0.1:0", "--topics-listen", "127.0.0.1:0"],
        rng,
      );
    const daemon = await startDaemon(["--data", folder, "--log-level", "error"]);
    const client = createStoreClient({ address: daemon.watch ?? "" });
    let isUp = true;
    const writers = Array.from({ length: 3 }, async (_, writer) => {
      for (let n = 0; isUp; n++) {
        const key = `key/${Math.floor(rng.float() * 20)}`;
        const isDelete = rng.float() < 0.2;
        const write: Write = { key, value: isDelete ? undefined : `${round}.${writer}.${n}`, revision: undefined };
        try {
          if (isDelete) {
            // Deleting what is not there changes nothing; if the answer is lost, nobody knows which it was.
            writes.push(write);
            const { revision, existed } = await client.delete(key);
            if (existed) write.revision = revision;
            else writes.splice(writes.indexOf(write), 1);
          } else {
            writes.push(write);
            write.revision = (await client.put(key, write.value ?? "")).revision;
          }
        } catch {
          return;
        }
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 20 + rng.float() * 300));
    await daemon.stop("SIGKILL");
    isUp = false;
    await Promise.all(writers);
    await client.close();
    expect(daemon.output().stderr).toBe("");
  }
  console.info(
    `${writes.length} writes, ${writes.filter(({ revision }) => revision === undefined).length} without an answer`,
  );
  expect(writes.length).toBeGreaterThan(rounds);

  // Up once more, so that it can catch up; going down it settles what it has.
  const daemon = await startDaemon(["--data", folder]);
  expect((await daemon.json(["fsck"]))[0]).toMatchObject({ clean: true, findings: [] });
  await daemon.cli(["put", "last", "one"]);
  writes.push({ key: "last", value: "one", revision: undefined });
  expect(await daemon.stop("SIGTERM")).toBe(0);

  const { log, live, gaps } = await readReplica(folder);
  expectListOfWhatWasDone(log, writes);
  expect(gaps).toBe(0);
  expect(log.map(({ revision }) => revision)).toEqual(log.map((_, index) => BigInt(index + 1)));
  await using store = await openStore({ file: join(folder, "store.db") });
  const { kvs, revision } = await store.list({ limit: 1000 });
  expect(new Map(kvs.map(({ key, value }) => [text(key), text(value)]))).toEqual(live);
  expect(revision).toBe(BigInt(log.length));
  expect(await tidemark(["fsck", "--data", folder])).toMatchObject({ exitCode: 0 });
});

serviceTest("etcd")(
  `SIGKILL at ${rounds} random moments loses nothing of a real etcd`,
  async () => {
    console.info(`seed ${seed}`);
    const rng = seededRng(seed);
    const folder = testFolder();
    await using etcd = await startEtcd();
    const client: EtcdClient = etcd.client;
    const writes: Write[] = [];
    const args = ["--data", folder, "--etcd", etcd.endpoint, "--prefix", "/"];
    // The snapshot it begins with is empty, so the history has to be all of what follows.
    const first = await startDaemon(args);
    await until(async () => (await fetch(`${first.http}/readyz`)).status === 200);
    await first.stop("SIGKILL");
    let isWriting = true;
    // etcd goes on all the time, whether the daemon is up or not.
    const writers = Array.from({ length: 3 }, async (_, writer) => {
      const keys = new Set<string>();
      for (let n = 0; isWriting; n++) {
        const key = `/w${writer}/${Math.floor(rng.float() * 10)}`;
        if (rng.float() < 0.2 && keys.delete(key))
          writes.push({ key, value: undefined, revision: await client.delete(key) });
        else {
          keys.add(key);
          const value = `${writer}.${n}`;
          writes.push({ key, value, revision: await client.put(key, value) });
        }
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    });
    for (let round = 0; round < rounds; round++) {
      if (rng.float() < 0.3) await killWhileStarting(args, rng);
      const daemon = await startDaemon([...args, "--log-level", "error"]);
      await new Promise((resolve) => setTimeout(resolve, 20 + rng.float() * 300));
      await daemon.stop("SIGKILL");
      expect(daemon.output().stderr).toBe("");
    }
    isWriting = false;
    await Promise.all(writers);
    console.info(`${writes.length} writes`);

    const daemon = await startDaemon(args);
    // Waits until the replica has all that etcd has.
    const listed = await daemon.json(["ls", "--fresh"]);
    expect(listed.length).toBeGreaterThan(0);
    expect(await daemon.stop("SIGTERM")).toBe(0);

    const { log, live, gaps } = await readReplica(folder);
    expectListOfWhatWasDone(log, writes);
    expect(gaps).toBe(0);
    const { kvs } = await client.list("/");
    expect(new Map(kvs.map(({ key, value }) => [text(key), text(value)]))).toEqual(live);
    expect(await tidemark(["fsck", "--data", folder])).toMatchObject({ exitCode: 0 });
  },
  timeoutMs,
);

test("SIGTERM commits everything that was acknowledged before it", async () => {
  const folder = testFolder();
  // The bound is not what is tested here, and a busy machine takes its time.
  writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify({ stopTimeoutMs: 60_000 }));
  const daemon = await startDaemon(["--data", folder], { cwd: folder });
  await using client = createStoreClient({ address: daemon.watch ?? "" });
  // Large, so that the replica is behind when the signal comes.
  const value = Buffer.alloc(100_000, 7);
  const acknowledged = await Promise.all(Array.from({ length: 300 }, (_, n) => client.put(`key/${n}`, value)));
  expect(await daemon.stop("SIGTERM")).toBe(0);
  const { log } = await readReplica(folder);
  expect(log.map(({ revision }) => revision)).toEqual(
    acknowledged.map(({ revision }) => revision).toSorted((a, b) => (a < b ? -1 : 1)),
  );
});

test("a stop ends within its bound, although the disk takes nothing, says so, and the next start has everything", async () => {
  const folder = testFolder();
  writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify({ stopTimeoutMs: 1_000 }));
  const daemon = await startDaemon(["--data", folder], { cwd: folder });
  await daemon.cli(["put", "a", "before"]);
  const holder = new Sqlite(join(folder, "replica.db"));
  onTestFinished(() => void holder.close());
  holder.exec("BEGIN IMMEDIATE");
  expect((await daemon.cli(["put", "a", "meanwhile", "--no-sync"])).exitCode).toBe(0);
  const beganMs = performance.now();
  expect(await daemon.stop("SIGTERM")).toBe(5);
  // The bound, a second in which the process may end, and the 5 s for which SQLite waits for a lock and nobody can cut it.
  expect(performance.now() - beganMs).toBeLessThan(10_000);
  expect(daemon.output().stderr).toMatch(/\nerror: .*(did not stop within `stopTimeoutMs`|could be committed)/);
  holder.exec("ROLLBACK");
  const again = await startDaemon(["--data", folder], { cwd: folder });
  expect((await again.cli(["get", "a", "--fresh"])).stdout).toBe("meanwhile\n");
  expect((await again.cli(["fsck"])).exitCode).toBe(0);
});

test("a second signal ends a stop that takes too long", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  const stopped = daemon.stop("SIGINT");
  daemon.child.kill("SIGINT");
  // Either the first was done already, or the second cut it.
  expect([0, 130]).toContain(await stopped);
});
