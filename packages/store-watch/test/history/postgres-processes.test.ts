import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { seededRng, systemClock, systemRng } from "@tidemark/clock";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished } from "vitest";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import { createReferenceStore } from "../../src/testing/reference-store.ts";
import { createSimulatedSource } from "../../src/testing/simulated-source.ts";
import { openWatcher } from "../../src/watcher.ts";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { killScript } from "./fixtures/kill-script.ts";
import { append, state } from "./helpers.ts";
import { overtake } from "./sleeping-writer.ts";

const test = serviceTest("postgres");
const isLong = process.env["TIDEMARK_LONG"] === "1";
const kills = isLong ? 60 : 3;

type Schema = Awaited<ReturnType<typeof temporarySchema>>;

/** Every version that the source made up to a revision, in log order. */
function versionsUpTo(revision: number): string[] {
  const live = new Set<string>();
  const versions: string[] = [];
  for (let at = 1; at <= revision; at++) {
    for (const [key, value] of killScript.changesOf(at)) {
      if (value === undefined && !live.has(key)) continue;
      if (value === undefined) live.delete(key);
      else live.add(key);
      versions.push(`${key} ${at} ${value ?? "deleted"}`);
    }
  }
  return versions;
}

async function versionsIn({ database }: Schema): Promise<{ readonly cursor: number; readonly versions: string[] }> {
  const [[cursor] = []] = (await database.rows("SELECT cursor FROM streams")) as [string | null][];
  const rows = (await database.rows("SELECT key, value, version FROM history ORDER BY position")) as [
    Buffer,
    Buffer | null,
    string,
  ][];
  const versions = rows.map(([key, value, version]) => {
    return `${key.toString()} ${killScript.revisionOf(version)} ${value?.toString() ?? "deleted"}`;
  });
  return { cursor: killScript.revisionOf(cursor ?? undefined), versions };
}

/** A process that appends, with what it says line by line. */
function appending({ options }: Schema, seed: number): { readonly child: ChildProcess; lines: AsyncIterator<string> } {
  const script = new URL("./fixtures/append-forever-postgres.ts", import.meta.url).pathname;
  const args = [...process.execArgv, script, options.database, options.schema as string, String(seed)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
}

async function lastOf(lines: AsyncIterator<string>, least: number): Promise<number> {
  for (let last = 0, count = 0; ; ) {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`the process ended after revision ${last}`);
    last = Number(value);
    count++;
    if (count > least) return last;
  }
}

test(
  `a process that is killed ${kills} times while it writes loses nothing that it acknowledged, and doubles nothing`,
  async () => {
    const schema = await temporarySchema();
    const random = seededRng(7);
    let known = 0;
    for (let round = 0; round < kills; round++) {
      // It waits for the lease of the one before, which died with it.
      const { child, lines } = appending(schema, round);
      known = Math.max(known, await lastOf(lines, random.int(1, 20)));
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
      const { cursor, versions } = await versionsIn(schema);
      expect(cursor).toBeGreaterThanOrEqual(known);
      expect(versions).toEqual(versionsUpTo(cursor));
    }
    await using history = await openPostgresHistory({ ...schema.options, waitMs: 30_000 });
    expect((await history.fsck()).findings).toEqual([]);
  },
  isLong ? 600_000 : 60_000,
);

test("a process that is stopped, overtaken and woken up writes nothing more, and says so", async () => {
  const schema = await temporarySchema();
  const { child, lines } = appending(schema, 1);
  await lastOf(lines, 3);
  child.kill("SIGSTOP");
  // The lease runs out by the server's clock, or the server ends the transaction in which it was stopped.
  const history = await openPostgresHistory({ ...schema.options, waitMs: 30_000 });
  onTestFinished(() => history.close());
  const stream = await history.openStream(killScript.stream);
  const taken = await versionsIn(schema);
  expect(taken.versions).toEqual(versionsUpTo(taken.cursor));
  child.kill("SIGCONT");
  let said = "";
  for (let next = await lines.next(); next.done !== true; next = await lines.next()) said = next.value;
  // A transaction that the server ended comes first as COMMIT_FAILED; that would be tried again and refused then.
  expect(said).toMatch(/^(DATABASE_LOCKED|COMMIT_FAILED)$/);
  expect(await versionsIn(schema)).toEqual(taken);
  const [frames] = [...killScript.buffers(1, taken.cursor)];
  await append(stream, frames ?? []);
  expect((await history.fsck()).findings).toEqual([]);
});

test("a watcher whose history was taken over goes on when the lease is free, from where the other one came", async () => {
  const schema = await temporarySchema();
  await using history = await openPostgresHistory(schema.options);
  const store = createReferenceStore();
  const source = createSimulatedSource(store, { clock: systemClock, rng: systemRng });
  await using watcher = await openWatcher({
    source,
    history,
    name: "config",
    restart: { initialDelayMs: 1, maxDelayMs: 20 },
    commitRetry: { initialDelayMs: 1, maxDelayMs: 20 },
  });
  store.put(Buffer.from("a"), Buffer.from("1"));
  await watcher.waitFor("now");
  expect(await state(history)).toEqual({ a: "1" });

  // From here on: the watcher may find out before it has something to write.
  const events = watcher.events();
  const other = await overtake(schema);
  store.put(Buffer.from("a"), Buffer.from("2"));
  for await (const event of events) if (event.type === "dropped") break;
  expect(await state(other)).toEqual({ a: "1" });
  await other.close();
  store.put(Buffer.from("b"), Buffer.from("3"));
  await watcher.waitFor("now");
  expect(await state(history)).toEqual({ a: "2", b: "3" });
  await expect.poll(() => watcher.status().state).toBe("live");
  expect((await history.fsck()).findings).toEqual([]);
});
