// Commits of MariaDB that are left to themselves: whoever works on does not wait for the disk.

import { defineMigration, type Migration, type MigrationEvent } from "@tidemark/migrate";
import { MigrationEngine, openMysql, resolveEngine } from "@tidemark/migrate/internal";
import { seededRng, systemClock } from "@tidemark/clock";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import { createPool } from "mysql2/promise";
import { expect, onTestFinished } from "vitest";
import { linkTo } from "./support/address.ts";
import { eager } from "./support/scratch.ts";
import { createStatements, tablesOf } from "./support/shared-tables.ts";
import { type Stage, stageOn } from "./support/stage.ts";

const onMariaDb = serviceTest("mariadb");
const rows = 30;

/** A block that gives its row, and then stands still behind a gate before it commits. */
const block = (id: number, gate: string) => ({
  sql: `begin not atomic start transaction; update counters set n = n + 1 where id = ${id}; select ${id};
    do get_lock('${gate}', 60); commit; do release_lock('${gate}'); end`,
  params: [],
});

/** A connection that has asked something, out of a pool of so many. */
async function connected(stage: Stage, connectionLimit: number) {
  const { socket, name } = stage.address as { readonly socket: string; readonly name: string };
  const client = createPool({ socketPath: socket, user: "root", database: name, connectionLimit });
  const { connection } = openMysql({ dialect: "mysql", client });
  onTestFinished(async () => {
    await connection.close();
    await client.end();
  });
  await connection.execute({ sql: "select 1", params: [] });
  const perform = (id: number, gate: string, commit: "durable" | "lazy") => {
    const { inOne } = connection;
    if (inOne === undefined) throw new Error("MariaDB takes blocks");
    return inOne(() => block(id, gate), commit);
  };
  return { connection, perform };
}

/** Locks of the server are of no database, so each test has one of its own. */
async function gateOf(stage: Stage) {
  const gate = (stage.address as { readonly name: string }).name;
  const keeper = await linkTo(stage.address as never);
  onTestFinished(() => keeper.end());
  const { connection } = await keeper.open();
  onTestFinished(() => connection.close());
  await connection.execute({ sql: `select get_lock('${gate}', 60)`, params: [] });
  const waiting = async () =>
    (
      await stage.query(
        `select id from information_schema.processlist where db = '${gate}' and state = 'User lock' order by id`,
      )
    ).map(([id]) => Number(id));
  const open = () => connection.execute({ sql: `select release_lock('${gate}')`, params: [] });
  return { gate, waiting, open };
}

const prepared = () => stageOn("mariadb", createStatements("mysql", rows));
const bumped = (stage: Stage) => stage.query("select id from counters where n = 1 order by id");

onMariaDb("the row of a lazy block comes before its commit, and the next block begins meanwhile", async () => {
  const stage = await prepared();
  const { connection, perform } = await connected(stage, 8);
  const { gate, waiting, open } = await gateOf(stage);
  expect((await perform(1, gate, "lazy")).rows).toEqual([[1n]]);
  expect(await bumped(stage)).toEqual([]);
  expect((await perform(2, gate, "lazy")).rows).toEqual([[2n]]);
  while ((await waiting()).length < 2);
  // Two are under way, so the third one waits for the first; and one on which everything hangs waits for itself.
  let isThirdThere = false;
  const third = perform(3, gate, "lazy").then(() => (isThirdThere = true));
  expect((await waiting()).length).toBe(2);
  expect(isThirdThere).toBe(false);
  await open();
  await third;
  expect((await perform(4, gate, "durable")).rows).toEqual([[4n]]);
  await connection.close();
  expect(await bumped(stage)).toEqual([[1], [2], [3], [4]]);
});

onMariaDb("closing waits for commits that were left to themselves", async () => {
  const stage = await prepared();
  const { connection, perform } = await connected(stage, 8);
  const { gate, open } = await gateOf(stage);
  await perform(1, gate, "lazy");
  const closed = connection.close();
  await open();
  await closed;
  expect(await bumped(stage)).toEqual([[1]]);
});

onMariaDb("a durable block, and any out of a small pool, is over when its row comes", async () => {
  const stage = await prepared();
  for (const [limit, commit, id] of [
    [8, "durable", 1],
    [4, "lazy", 2],
  ] as const) {
    const { perform } = await connected(stage, limit);
    const { gate, waiting, open } = await gateOf(stage);
    let isThere = false;
    const pending = perform(id, gate, commit).then(() => (isThere = true));
    while ((await waiting()).length < 1);
    expect(isThere).toBe(false);
    await open();
    await pending;
    expect(await bumped(stage)).toContainEqual([id]);
  }
});

onMariaDb("a connection that is lost behind its row takes nothing else with it", async () => {
  const stage = await prepared();
  const { connection, perform } = await connected(stage, 8);
  const { gate, waiting, open } = await gateOf(stage);
  await perform(1, gate, "lazy");
  let victim: number | undefined;
  while (victim === undefined) [victim] = await waiting();
  await stage.query(`kill ${victim}`);
  await open();
  await connection.execute({ sql: "select 1", params: [] });
  await perform(2, gate, "durable");
  expect(await bumped(stage)).toEqual([[2]]);
});

onMariaDb("a chunk whose commit failed behind its row is done again, once", async () => {
  const stage = await prepared();
  const table = tablesOf("mysql").counters;
  const size = { initialRows: 10, minRows: 10, maxRows: 10 };
  const bump = { name: "bump", table, key: "id", set: { n: sql`n + 1` }, remaining: sql`n = 0` };
  const link = await linkTo(stage.address as never);
  const database = await link.open();
  const { connection } = database;
  const inOne = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(connection), "inOne")?.get;
  const commits: string[] = [];
  Object.defineProperty(connection, "inOne", {
    get(this: typeof connection) {
      const perform = inOne?.call(this) as NonNullable<typeof connection.inOne>;
      return (query: Parameters<typeof perform>[0], commit: "durable" | "lazy") => {
        commits.push(commit);
        const isVictim = commits.length === 2;
        return perform(() => {
          const { sql: text, params } = query();
          return { sql: isVictim ? text.replace("commit;", "rollback;") : text, params };
        }, commit);
      };
    },
  });
  const engine = await MigrationEngine.open({
    database,
    definitions: [defineMigration({ ...bump, ...eager, ...size } as never) as Migration],
    options: resolveEngine({ pollMs: 5 }),
    clock: systemClock,
    rng: seededRng(1),
    owner: "test",
    signals: [],
    isShared: false,
  });
  onTestFinished(() => link.end());
  const retries: MigrationEvent[] = [];
  const events = engine.events();
  const told = (async () => {
    for await (const event of events) if (event.type === "trouble" && event.kind === "retry") retries.push(event);
  })();
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "done", rowsDone: rows, rowsChanged: rows });
  await engine.close();
  await told;
  expect(retries).toHaveLength(1);
  // The second one again, found by the third; and the last one, behind which nobody would find out.
  expect(commits.slice(0, 4)).toEqual(["lazy", "lazy", "lazy", "lazy"]);
  expect(commits.at(-1)).toBe("durable");
  expect(await stage.query("select distinct n from counters")).toEqual([[1]]);
  expect(await stage.query("select count(*), count(distinct id) from effects")).toEqual([[rows, rows]]);
});
