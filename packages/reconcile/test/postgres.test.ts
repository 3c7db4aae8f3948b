import { changePhase, openCycle } from "@tidemark/reconcile";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import { expect } from "vitest";
import { nodePostgres } from "./support/states.ts";

const postgresTest = serviceTest("postgres");

/** A feed of ten changes into a table of the server that has the books, too. */
async function following(name: string) {
  const { store, pool } = nodePostgres();
  await pool.query(`CREATE TABLE ${name} (id INT PRIMARY KEY)`);
  let fails = 0;
  const follow = changePhase({
    name: "events",
    limit: 4,
    read: async (after, limit) =>
      Array.from({ length: 10 }, (_, n) => BigInt(n + 1))
        .filter((id) => id > (after ?? 0n))
        .slice(0, limit),
    position: (id: bigint) => id,
    print: String,
    apply: async (id) => ({
      write: async (tx: { execute(query: ReturnType<typeof sql>): PromiseLike<unknown> }) => {
        await tx.execute(sql`INSERT INTO ${sql.identifier(name)} VALUES (${Number(id)})`);
        if (id === 6n && fails++ < 1) await tx.execute(sql`SELECT pg_terminate_backend(pg_backend_pid())`);
      },
    }),
  });
  const rows = async () => (await pool.query<{ id: number }>(`SELECT id FROM ${name} ORDER BY id`)).rows;
  const cursor = async () =>
    (
      await pool.query<{ position: string }>("SELECT position FROM tidemark_cycle_cursors WHERE cycle = $1", [name])
    ).rows.at(0)?.position;
  return { store, follow, ids: async () => (await rows()).map(({ id }) => id), cursor };
}

postgresTest(
  "R9: a cursor and its effects are one transaction of the server, also when it ends the connection",
  async () => {
    const { store, follow, ids, cursor } = await following("effects");
    await using cycle = await openCycle({ name: "effects", everyMs: 1e9, phases: [follow] }, { state: store });
    const first = await cycle.next({ includeCurrent: true });
    expect(first.phases[0]?.outcome).not.toBe("done");
    // Nothing of the transaction that was cut is there, and the cursor is right behind what is.
    const done = await ids();
    expect(done).not.toContain(6);
    expect(await cursor()).toBe(String(done.length));
    const second = cycle.next();
    cycle.trigger();
    expect((await second).phases[0]?.outcome).toBe("done");
    expect(await ids()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(await cursor()).toBe("10");
  },
);
