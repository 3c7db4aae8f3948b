import { type Column, getTableColumns, sql } from "drizzle-orm";
import { updateQuery } from "./body-sql.ts";
import type { BodyRunner, Effect, Prepared } from "./chunk.ts";
import { executeEach, type SqlExecutor, type SqlValue } from "./connection.ts";
import type { Plan } from "./plan.ts";
import { mentionsColumn, readsElsewhere } from "./sql-mentions.ts";
import { slot, Template } from "./template.ts";

/**
 * Whether a SET is better computed before its transaction: where everybody else waits for the one writer, and the
 * expressions look at other rows, the lock would be held for reading most of the time. What changes in those rows between
 * the reading and the writing is found by verification, so it has to be one that computes again.
 */
export function isSplit({ database, migration }: Plan): boolean {
  const { body, remaining } = migration;
  if (!database.dialect.hasOneWriter || body.type !== "set" || remaining !== undefined) return false;
  return [...body.set.values()].some(readsElsewhere);
}

/** A SET whose values are computed without a lock and written as they are into rows that still are what was read. */
export function splitBody(plan: Plan): Required<Pick<BodyRunner, "prepare">> {
  const { database, migration, key } = plan;
  const { dialect } = database;
  const assignments = plan.assignments();
  const guards = guardsOf(plan);
  const width = assignments.length;
  const at = (from: number) => key.map((column, index) => sql`${column} = ${slot(from + index)}`);
  const sets = assignments.map(({ column }, index) => sql`${sql.identifier(dialect.nameOf(column))} = ${slot(index)}`);
  const updateWhere = (conditions: readonly ReturnType<typeof slot>[]) =>
    new Template(
      dialect,
      sql`update ${plan.table} set ${sql.join(sets, sql`, `)} where ${sql.join([...conditions], sql` and `)}`,
    );
  const plain = updateWhere(at(width));
  const guarded = updateWhere([
    ...at(width),
    ...guards.map((column, index) => dialect.isUnchanged(column, slot(width + key.length + index))),
    ...(migration.where === undefined ? [] : [sql`(${migration.where})`]),
  ]);

  return {
    async prepare(range): Promise<Prepared> {
      // First the version, then the rows: what is committed between the two counts as a change, which is harmless.
      const version = await versionOf(plan);
      const query = plan.queryOf("computed", range, (symbolic) => {
        const selected = [
          ...assignments.map(({ value }) => sql`(${value})`),
          plan.selectedKey,
          ...guards.map((column) => dialect.select(column)),
        ];
        return sql`select ${sql.join(selected, sql`, `)} from ${plan.table}
          where ${plan.matching(symbolic)} order by ${plan.inKeyOrder()}`;
      });
      const { rows } = await database.connection.execute(query);
      return async (executor): Promise<Effect> => {
        if (version !== undefined && (await versionOf(plan, executor)) === version) {
          // Nobody has written anything anywhere: the values are what they would be now.
          const changes = await executeEach(
            executor,
            plain.sql,
            rows.map((row) => plain.params(row)),
          );
          return { done: countOf(changes), changed: countOf(changes), poison: [] };
        }
        const changes = await executeEach(
          executor,
          guarded.sql,
          rows.map((row) => guarded.params(row)),
        );
        const missed = rows.filter((_, index) => changes[index] === 0);
        const again = await computeAgain(
          plan,
          missed.map((row) => row.slice(width, width + key.length)),
          executor,
        );
        const changed = countOf(changes) + again;
        return { done: changed, changed, poison: [] };
      };
    },
  };
}

/** Rows that somebody wrote meanwhile are computed as they are now, under the lock. Resolves with how many there are. */
export async function computeAgain(
  plan: Plan,
  keys: readonly (readonly SqlValue[])[],
  executor: SqlExecutor,
): Promise<number> {
  let changed = 0;
  for (const key of keys) {
    const query = updateQuery(plan, { after: undefined, upTo: key, isSingle: true });
    changed += (await executor.execute(query)).changes;
  }
  return changed;
}

/** The columns of the row itself that decide what is written: those it reads, and those it writes. */
function guardsOf(plan: Plan): Column[] {
  const { migration } = plan;
  const assignments = plan.assignments();
  return Object.values(getTableColumns(migration.table)).filter(
    (column) =>
      !plan.key.includes(column) &&
      (assignments.some((each) => each.column === column || mentionsColumn(each.value, column)) ||
        mentionsColumn(migration.where, column)),
  );
}

/** Changes when another connection commits; undefined where the database does not tell. */
async function versionOf(plan: Plan, executor: SqlExecutor = plan.database.connection): Promise<SqlValue | undefined> {
  const { dataVersion } = plan.database.dialect;
  return dataVersion === undefined ? undefined : (await executor.execute(dataVersion)).rows[0]?.[0];
}

const countOf = (changes: readonly number[]) => changes.reduce((sum, each) => sum + each, 0);
