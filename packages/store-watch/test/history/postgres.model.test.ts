import { serviceTest } from "@tidemark/tooling/services";
import fc from "fast-check";
import { expect } from "vitest";
import type { Frame } from "../../src/contract.ts";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { allCapabilities, append, streamOptions } from "./helpers.ts";
import { anyStep, Script, type Step } from "./script.ts";

const runs = process.env["TIDEMARK_LONG"] === "1" ? 1500 : 15;

type Schema = Awaited<ReturnType<typeof temporarySchema>>;

interface Row {
  readonly key: Buffer;
  readonly epoch: string;
  readonly via: number;
  readonly version: string;
  readonly cursor: string;
  readonly value: Buffer | null;
}

/** Each key's history and the present state, read by nothing but SQL. */
async function readHistory({ client }: Schema, isVersioned: boolean) {
  const { rows } = await client.query<Row>(
    `SELECT o.key, e.identity AS epoch, v.via, v.version, b.cursor, v.value FROM versions v JOIN objects o ON o.id = v.object
      JOIN epochs e ON e.id = v.epoch JOIN batches b ON b.id = v.batch ORDER BY v.pos`,
  );
  const history = new Map<string, string[]>();
  for (const row of rows) {
    const key = row.key.toString("latin1");
    const via = ["stream", "snapshot", "sweep"][row.via - 1];
    const version = isVersioned ? row.version : "-";
    const value = row.value === null ? "deleted" : `=${row.value.toString("latin1")}`;
    history.set(key, [...(history.get(key) ?? []), `${row.epoch} ${via} ${version} ${row.cursor} ${value}`]);
  }
  const current = await client.query<{ key: Buffer; value: Buffer }>("SELECT key, value FROM current");
  const gaps = await client.query<{ gap: string }>(
    "SELECT reason || ' ' || from_cursor || ' ' || coalesce(to_cursor, '') AS gap FROM gaps ORDER BY id",
  );
  const stream = await client.query(
    "SELECT s.cursor, e.identity AS epoch, s.quarantined FROM streams s JOIN epochs e ON e.id = s.epoch",
  );
  return {
    history,
    current: new Map(current.rows.map(({ key, value }) => [key.toString("latin1"), value.toString("latin1")])),
    gaps: gaps.rows.map(({ gap }) => gap),
    stream: stream.rows[0] as unknown,
  };
}

/** Everything that the frames decide, and nothing that the clock or the cutting of buffers does. */
async function dump({ database }: Schema): Promise<unknown> {
  const queries = [
    `SELECT v.pos, o.key, v.gen, e.identity, v.parent, v.level, v.via, v.version, v.value, v.batch
      FROM versions v JOIN objects o ON o.id = v.object JOIN epochs e ON e.id = v.epoch ORDER BY v.pos`,
    "SELECT key, head, is_deleted, seen FROM objects ORDER BY key",
    "SELECT id, epoch, cursor, first_pos, count, kind FROM batches ORDER BY id",
    "SELECT name, epoch, cursor, keys, versions, gaps, quarantined FROM streams",
    "SELECT id, identity, reason FROM epochs ORDER BY id",
    "SELECT epoch, reason, detail, from_cursor, to_cursor, position FROM gaps ORDER BY id",
    "SELECT key, value, version, cursor, position, state, resolution FROM quarantine ORDER BY id",
  ];
  const found: unknown[] = [];
  for (const query of queries) found.push(await database.rows(query));
  return found;
}

async function write(
  { options, client }: Schema,
  frames: readonly Frame[],
  cuts: readonly number[],
  isVersioned: boolean,
): Promise<readonly unknown[]> {
  const capabilities = { ...allCapabilities, versioned: isVersioned, resumable: isVersioned };
  // So few that objects are forgotten and looked up again all the time.
  await using history = await openPostgresHistory({ ...options, cacheBytes: 1000 });
  const names = "streams, epochs, objects, versions, batches, commits, gaps, quarantine, consumers, stage";
  await client.query(`TRUNCATE ${names}`);
  const stream = await history.openStream(streamOptions("s", { capabilities }));
  const ends = [...new Set(cuts.map((number) => number % (frames.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const to of [...ends, frames.length]) {
    await append(stream, frames.slice(from, to));
    from = to;
  }
  return (await history.fsck()).findings;
}

const anyCuts = fc.array(fc.nat({ max: 400 }), { maxLength: 12 });

async function holds(isVersioned: boolean): Promise<void> {
  const schema = await temporarySchema();
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyStep, { maxLength: 25 }),
      anyCuts,
      anyCuts,
      async (steps: readonly Step[], cuts, otherCuts) => {
        const script = new Script({ isVersioned });
        for (const step of steps) script.run(step);
        expect(await write(schema, script.frames, cuts, isVersioned)).toEqual([]);
        const found = await readHistory(schema, isVersioned);
        expect(found.history).toEqual(script.expected);
        const live = [...script.known].filter(([, { value }]) => value !== undefined);
        expect(found.current).toEqual(new Map(live.map(([key, { value }]) => [key, value])));
        expect(found.gaps).toEqual(script.gaps);
        expect(found.stream).toMatchObject({ cursor: script.cursor, epoch: script.epoch });
        const first = await dump(schema);
        await write(schema, script.frames, otherCuts, isVersioned);
        expect(await dump(schema)).toEqual(first);
      },
    ),
    { numRuns: runs },
  );
}

serviceTest("postgres")(
  "whatever a source does and however its frames are cut, the history on PostgreSQL is what it did",
  () => holds(true),
  3_600_000,
);

serviceTest("postgres")(
  "a source without versions has a version for every change of a value on PostgreSQL",
  () => holds(false),
  3_600_000,
);

/** What every position from `from` on shows, and what the log says after it. */
async function visible({ database }: Schema, from: number): Promise<unknown> {
  const [[now]] = (await database.rows("SELECT coalesce(max(pos), 0) FROM versions")) as [[number]];
  const states: unknown[] = [];
  for (let position = from; position <= now; position++) {
    states.push(
      await database.rows(`SELECT o.key, v.value, v.version FROM objects o JOIN versions v ON v.pos =
        (SELECT max(w.pos) FROM versions w WHERE w.object = o.id AND w.pos <= ${position})
        WHERE v.value IS NOT NULL ORDER BY o.key`),
    );
  }
  return { states, log: await database.rows(`SELECT * FROM versions WHERE pos > ${from} ORDER BY pos`) };
}

serviceTest("postgres")(
  "whatever is pruned on PostgreSQL, every state from the floor on stays as it was and the database is sound",
  async () => {
    const schema = await temporarySchema();
    const fraction = fc.nat({ max: 100 }).map((percent) => percent / 100);
    const prunes = fc.array(fc.record({ before: fraction, consumer: fc.option(fraction), isOne: fc.boolean() }), {
      minLength: 1,
      maxLength: 3,
    });
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 15 }), anyCuts, prunes, async (steps, cuts, wanted) => {
        const script = new Script({ isVersioned: true });
        for (const step of steps) script.run(step);
        await write(schema, script.frames, cuts, true);
        await using history = await openPostgresHistory(schema.options);
        let floor = 0;
        for (const { before, consumer, isOne } of wanted) {
          const position = Number(await history.position());
          const at = (share: number) => Math.round(floor + share * (position - floor));
          if (consumer !== null) await history.setConsumer("c", BigInt(at(consumer)));
          const least = Math.min(at(before), consumer === null ? position : at(consumer));
          const expected = await visible(schema, least);
          const options = { before: { position: BigInt(at(before)) }, ...(isOne && { stream: "s" }) };
          expect(await history.prune(options)).toMatchObject({ floor: BigInt(least) });
          expect(await visible(schema, least)).toEqual(expected);
          expect((await history.fsck()).findings).toEqual([]);
          floor = least;
          await history.setConsumer("c", undefined);
        }
        // What is left is what the floor still needs, and no more.
        const superfluous = await schema.database.rows(`SELECT count(*) FROM versions v
          WHERE pos < (SELECT max(w.pos) FROM versions w WHERE w.object = v.object AND w.pos <= ${floor})`);
        expect(superfluous).toEqual([[0]]);
      }),
      { numRuns: Math.ceil(runs / 2) },
    );
  },
  3_600_000,
);
