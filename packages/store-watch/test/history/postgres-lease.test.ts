import { createServer, connect, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { systemClock } from "@tidemark/clock";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, inject, onTestFinished } from "vitest";
import type { StoreWatchError } from "../../src/errors.ts";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import type { History } from "../../src/history-types.ts";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { append, at, begin, bufferOf, commit, end, put, state, streamOptions } from "./helpers.ts";
import { letRunOut, openSleeper } from "./sleeping-writer.ts";

const test = serviceTest("postgres");

type Schema = Awaited<ReturnType<typeof temporarySchema>>;

async function opened(options: Parameters<typeof openPostgresHistory>[0]): Promise<History> {
  const history = await openPostgresHistory(options);
  onTestFinished(() => history.close());
  return history;
}

async function everything({ database }: Schema): Promise<unknown> {
  const tables = ["streams", "epochs", "objects", "versions", "batches", "commits", "gaps", "quarantine", "stage"];
  const found: unknown[] = [];
  for (const table of tables) found.push(await database.rows(`SELECT * FROM ${table} ORDER BY 1`));
  return found;
}

test("a second writer is refused and told who writes, until the first one closes", async () => {
  const { options } = await temporarySchema();
  const first = await openPostgresHistory(options);
  await expect(openPostgresHistory(options)).rejects.toThrow(
    new RegExp(`DATABASE_LOCKED.*is written by process ${process.pid} on .*its lease ends in \\d+ ms`),
  );
  await first.close();
  const second = await opened(options);
  expect(await second.streams()).toEqual([]);
});

test("who waits gets the lease as soon as it has run out", async () => {
  const schema = await temporarySchema();
  await openSleeper(schema.options);
  await letRunOut(schema);
  const second = await opened({ ...schema.options, waitMs: 60_000 });
  expect(await second.streams()).toEqual([]);
});

test("a writer that wakes up after its lease writes nothing, and one that gets it back goes on from what is there", async () => {
  const schema = await temporarySchema();
  const sleeper = await openSleeper(schema.options);
  const stream = await sleeper.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  await letRunOut(schema);
  const other = await opened(schema.options);
  const theirs = await other.openStream(streamOptions());
  await append(theirs, [put("a", "2", 2), put("b", "2", 2), commit(2)]);

  const before = await everything(schema);
  const frames = [put("a", "late", 2), commit(2), put("c", "late", 3)];
  const outcome = (await append(stream, frames).catch((error: unknown) => error)) as StoreWatchError;
  expect(outcome).toMatchObject({ code: "DATABASE_LOCKED", retryable: true });
  for (const write of [
    () => sleeper.setConsumer("c", 1n),
    () => sleeper.prune({ before: {} }),
    () => sleeper.openStream(streamOptions("new")),
  ]) {
    await expect(write()).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  }
  // It was told; to go on it has to ask where the history stands.
  await expect(append(stream, frames)).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  expect(await everything(schema)).toEqual(before);
  // What others wrote it can still read.
  expect(await state(sleeper)).toEqual({ a: "2", b: "2" });

  await other.close();
  const again = await sleeper.openStream(streamOptions());
  expect(again.resume).toEqual({ epoch: "e", cursor: at(2) });
  await expect(append(stream, frames)).rejects.toMatchObject({ code: "STREAM_BUSY" });
  expect(await append(again, [put("a", "3", 3), commit(3)])).toMatchObject({ versions: 1, position: 4n });
  expect((await sleeper.fsck()).findings).toEqual([]);
});

test("one that is overtaken in the middle of its transaction is not: the other waits, or the server ends it", async () => {
  const schema = await temporarySchema();
  const first = await opened(schema.options);
  const stream = await first.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  // The transaction hangs on a row that somebody has locked.
  const { client } = schema;
  await client.query("BEGIN");
  await client.query("SELECT * FROM streams FOR UPDATE");
  const appending = append(stream, [put("a", "2", 2), commit(2)]);
  await waitFor(schema, `SELECT count(*) FROM (${blocked}) AS waiting`, 1);
  const taking = openPostgresHistory({ ...schema.options, waitMs: 0 }).then(
    async (history) => {
      await history.close();
      return "took it";
    },
    ({ code }: StoreWatchError) => code,
  );
  expect(await taking).toBe("DATABASE_LOCKED");
  await client.query("COMMIT");
  expect(await appending).toMatchObject({ versions: 1, position: 2n });
});

test("a heartbeat keeps the lease of a writer that has nothing to write", async () => {
  const schema = await temporarySchema();
  await opened({ ...schema.options, leaseMs: 1000 });
  const expiry = async () =>
    (await schema.database.rows("SELECT extract(epoch FROM expires_at)::float8 FROM writer"))[0]?.[0];
  const first = (await expiry()) as number;
  await waitFor(schema, `SELECT count(*) FROM writer WHERE extract(epoch FROM expires_at) > ${first + 1}`, 1);
});

test("a heartbeat that finds the lease gone says so to the next append, which is for the watcher to ask anew", async () => {
  const schema = await temporarySchema();
  const history = await opened({ ...schema.options, leaseMs: 1000 });
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  // Nothing of the append reaches the server: the heartbeat is the first to see it.
  await schema.client.query("UPDATE writer SET fence = fence + 1, session = 'other', expires_at = 'infinity'");
  const followed = history.follow(1n)[Symbol.asyncIterator]().next();
  await schema.client.query(
    "INSERT INTO versions SELECT 2, object, batch, origin, 2, epoch, 1, 2, via, 'a2', NULL, NULL, value FROM versions",
  );
  // Whoever follows looks by itself from then on.
  expect((await followed).value).toMatchObject([{ position: 2n }]);
  await expect(append(stream, [put("a", "2", 2), commit(2)])).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
});

test("a connection that breaks within a transaction leaves nothing of it, and the next append has a new one", async () => {
  const schema = await temporarySchema();
  const history = await opened(schema.options);
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  const { client } = schema;
  await client.query("BEGIN");
  await client.query("SELECT * FROM streams FOR UPDATE");
  const buffer = bufferOf([put("a", "2", 2), commit(2)]);
  const appending = stream.append(buffer).catch((error: unknown) => error);
  await waitFor(schema, `SELECT count(*) FROM (${blocked}) AS waiting`, 1);
  await client.query(`SELECT pg_terminate_backend(pid) FROM (${blocked}) AS waiting`);
  expect(await appending).toMatchObject({ code: "COMMIT_FAILED", retryable: true, buffer });
  await client.query("COMMIT");
  expect(await stream.append(buffer)).toMatchObject({ versions: 1, position: 2n });
  expect((await history.fsck()).findings).toEqual([]);
});

/** Between a history and its server: cuts the connection when it sees a commit, or another statement. */
async function proxy(
  cut: "before" | "after" | "both",
): Promise<{ readonly url: string; arm(statement?: string): void; heal(): void }> {
  const socketPath = join(inject("postgresFolder"), ".s.PGSQL.5432");
  const sockets = new Set<Socket>();
  let armedFor: string | undefined;
  let isDown = false;
  const server: Server = createServer((near) => {
    if (isDown) {
      near.destroy();
      return;
    }
    const far = connect(socketPath);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
    }
    let isCommitting = false;
    near.on("data", (data) => {
      if (armedFor !== undefined && data.includes(armedFor)) {
        armedFor = undefined;
        if (cut === "both") isDown = true;
        if (cut === "before") {
          near.destroy();
          far.destroy();
          return;
        }
        isCommitting = true;
      }
      far.write(data);
    });
    far.on("data", (data) => {
      if (isCommitting && data.includes("COMMIT\0")) {
        // The server has answered it: it is committed.
        near.destroy();
        far.destroy();
      } else near.write(data);
    });
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    arm: (statement = "COMMIT\0") => {
      armedFor = statement;
    },
    heal: () => {
      isDown = false;
    },
  };
}

for (const cut of ["before", "after"] as const) {
  test(`a connection that breaks ${cut} the server commits: the history finds out which, and says so`, async () => {
    const schema = await temporarySchema();
    const { url, arm } = await proxy(cut);
    const history = await opened({ ...schema.options, database: url });
    const capabilities = { ...streamOptions().capabilities, versioned: false, resumable: false };
    const stream = await history.openStream(streamOptions("s", { capabilities }));
    await append(stream, [begin("e"), put("a", "1"), end(1)]);
    arm();
    // Twice there and back: to apply this again would make two more versions.
    const buffer = bufferOf([put("a", "2"), put("a", "1"), commit(2)]);
    const outcome = await stream.append(buffer).catch((error: unknown) => error);
    if (cut === "before") {
      expect(outcome).toMatchObject({ code: "COMMIT_FAILED", retryable: true });
      expect(await history.position()).toBe(1n);
      expect(await stream.append(buffer)).toMatchObject({ versions: 2, position: 3n });
    } else {
      expect(outcome).toMatchObject({ versions: 2, position: 3n });
    }
    expect(await append(stream, [put("b", "3"), commit(3)])).toMatchObject({ versions: 1, position: 4n });
    expect((await history.fsck()).findings).toEqual([]);
  });
}

test("a connection that breaks before its first transaction is given back: nobody waits for it for ever", async () => {
  const schema = await temporarySchema();
  const { url, arm } = await proxy("before");
  arm("SET idle_in_transaction_session_timeout");
  const options = { ...schema.options, database: url };
  await expect(openPostgresHistory(options)).rejects.toMatchObject({ code: "DATABASE_UNREADABLE", retryable: true });
  const history = await opened(options);
  expect(await history.streams()).toEqual([]);
});

test("if nobody can be asked whether a commit happened, the stream must be opened again, and says where it stands", async () => {
  const schema = await temporarySchema();
  const { url, arm, heal } = await proxy("both");
  const history = await opened({ ...schema.options, database: url });
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  arm();
  const frames = [put("a", "2", 2), commit(2)];
  await expect(append(stream, frames)).rejects.toMatchObject({ code: "DATABASE_UNREADABLE", retryable: true });
  await expect(append(stream, frames)).rejects.toMatchObject({ code: "DATABASE_UNREADABLE" });
  await expect(history.openStream(streamOptions())).rejects.toMatchObject({ retryable: true });
  heal();
  const again = await history.openStream(streamOptions());
  expect(again.resume).toEqual({ epoch: "e", cursor: at(2) });
  expect(await append(again, [put("a", "3", 3), commit(3)])).toMatchObject({ versions: 1, position: 3n });
  expect((await history.fsck()).findings).toEqual([]);
});

test("a database that was set back is noticed before anything is written to it", async () => {
  const schema = await temporarySchema();
  const history = await opened(schema.options);
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  await schema.client.query("UPDATE writer SET tx = tx - 1");
  await expect(append(stream, [put("a", "2", 2), commit(2)])).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  const again = await history.openStream(streamOptions());
  expect(await append(again, [put("a", "2", 2), commit(2)])).toMatchObject({ versions: 1 });
});

/** Who waits for what the test's own connection has locked: other tests use the same server at the same time. */
const blocked = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))";

/** Until the query's number is at least so much: the server says when, and the test's own limit ends it. */
async function waitFor({ database }: Schema, query: string, least: number): Promise<void> {
  for (;;) {
    const [[found]] = (await database.rows(query)) as [[number]];
    if (found >= least) return;
    await new Promise<void>((resolve) => systemClock.setTimer(5, resolve));
  }
}
