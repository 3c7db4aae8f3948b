import { sql } from "drizzle-orm";
import { computeAgain, isSplit, splitBody } from "../body-split.ts";
import type { BodyRunner, Effect, Prepared } from "../chunk.ts";
import { executeEach, type SqlExecutor } from "../connection.ts";
import type { Key, KeyRange, Plan } from "../plan.ts";
import { slot, Template } from "../template.ts";
import type { Aggregate } from "./aggregate.ts";
import { ChildScan, numbers, type Pause, isUnfit, Unfit, type Window } from "./child-scan.ts";
import type { Tally } from "./tally.ts";

/** Children that are brought in at a time when they came during the run. */
const tailLimit = 1000;

/** What a scan needs of a run. */
export interface ScanContext {
  readonly plan: Plan;
  /** The last key of the run. */
  readonly bound: () => Key;
  /** How long one slice may take. */
  readonly sliceMs: number;
  readonly monotonic: () => number;
  readonly pause: Pause;
  readonly tell: (message: string) => void;
}

/** The aggregate of a plan that can be made by reading all children in a row. */
export function scannable(plan: Plan): Aggregate | undefined {
  const { body } = plan.migration;
  if (body.type !== "set" || body.aggregate === undefined || !isSplit(plan) || plan.pass === "repair") return undefined;
  const [key] = plan.key;
  const isInteger = key !== undefined && /^int/i.test(key.getSQLType());
  const isPlain = body.aggregate.columns.every(
    ({ otherwise }) => otherwise === null || Number.isSafeInteger(otherwise),
  );
  const isNumeric = plan
    .assignments()
    .every(({ column }) => /^(int|real|numeric|double|float)/i.test(column.getSQLType()));
  return isInteger && isNumeric && isPlain ? body.aggregate : undefined;
}

/**
 * Children are read once, in the order they lie in; what came since is read behind them, the last of it in the transaction
 * itself. A row is written where its columns still are what they were before its children were read: whatever the
 * application did to it meanwhile, it is computed in SQL instead. What nobody could notice here, such as a child that was
 * changed by an application that does not keep the column, is found by verification.
 */
export function aggregateBody(context: ScanContext, aggregate: Aggregate): BodyRunner {
  const { plan } = context;
  const { database, migration } = plan;
  const scan = new ChildScan(plan, aggregate, context.sliceMs, context.monotonic);
  const write = writerOf(plan, scan);
  const split = splitBody(plan);
  const otherwise = aggregate.columns.map((each) => each.otherwise as number | null);
  let window: Window | undefined;
  let isClosed = false;

  async function gather({ after, upTo }: KeyRange): Promise<void> {
    const last = Number(upTo[0]);
    if (isClosed || window?.tally.has(last) === true) return;
    try {
      const [row] = await numbers(
        database.connection,
        plan.queryOf(
          "first",
          { after, upTo },
          (range) => sql`select min(${plan.key[0]}) from ${plan.table} where ${plan.inRange(range)}`,
        ),
      );
      const first = row?.[0] ?? last;
      const bound = Number(context.bound()[0]);
      if (!Number.isSafeInteger(first) || !Number.isSafeInteger(bound)) throw new Unfit("its keys are too large");
      window = await scan.window(first as number, Math.max(bound, last), database.connection, context.pause);
    } catch (error) {
      giveUp(error);
    }
  }

  function giveUp(error: unknown): void {
    if (!isUnfit(error, database.dialect)) throw error;
    isClosed = true;
    window = undefined;
    context.tell(`its children are asked for row by row: ${(error as Error).message}`);
  }

  /** Brings in what came since, page by page. Undefined: it has something that only SQL can bring together. */
  async function caughtUp(executor: SqlExecutor): Promise<Tally | undefined> {
    try {
      for (let isAll = false; window !== undefined && !isAll; ) {
        const next = await scan.catchUp(window, executor, tailLimit);
        window = next;
        isAll = next.isAll;
      }
    } catch (error) {
      giveUp(error);
    }
    return window?.tally;
  }

  return {
    gather,
    async prepare(range): Promise<Prepared> {
      if (isClosed || window === undefined || !window.tally.has(Number(range.upTo[0]))) return split.prepare(range);
      const rows = await numbers(
        database.connection,
        plan.queryOf(
          "keys",
          range,
          (symbolic) => sql`select ${plan.selectedKey} from ${plan.table}
          where ${plan.matching(symbolic)} order by ${plan.inKeyOrder()}`,
        ),
      );
      const keys = rows.map(([key]) => key as number);
      if (!keys.every(Number.isSafeInteger)) return split.prepare(range);
      if ((await caughtUp(database.connection)) === undefined) return split.prepare(range);
      return async (executor): Promise<Effect> => {
        // What others commit from now on comes behind this transaction.
        const tally = await caughtUp(executor);
        if (tally === undefined) {
          const changed = await computeAgain(
            plan,
            keys.map((key) => [BigInt(key)]),
            executor,
          );
          return { done: changed, changed, poison: [] };
        }
        const sure = keys.filter((key) => tally.isSure(key));
        const lists = sure.map((key) => {
          const values = otherwise.map((each, index) => tally.value(index, key) ?? each);
          return write.params([...values, key, ...otherwise.map((_, index) => tally.before(index, key))].map(integer));
        });
        const changes = await executeEach(executor, write.sql, lists);
        const missed = sure.filter((_, index) => changes[index] === 0);
        const unsure = keys.filter((key) => !tally.isSure(key));
        const again = await computeAgain(
          plan,
          [...missed, ...unsure].map((key) => [BigInt(key)]),
          executor,
        );
        const changed = changes.reduce((sum, each) => sum + each, 0) + again;
        return { done: changed, changed, poison: [] };
      };
    },
  };

  function writerOf(of: Plan, { written }: ChildScan): Template {
    const { dialect } = of.database;
    const width = written.length;
    const sets = written.map((column, index) => sql`${sql.identifier(dialect.nameOf(column))} = ${slot(index)}`);
    const conditions = [
      sql`${of.key[0]} = ${slot(width)}`,
      ...written.map((column, index) => dialect.isUnchanged(column, slot(width + 1 + index))),
      ...(migration.where === undefined ? [] : [sql`(${migration.where})`]),
    ];
    return new Template(
      dialect,
      sql`update ${of.table} set ${sql.join(sets, sql`, `)} where ${sql.join(conditions, sql` and `)}`,
    );
  }
}

/** Drivers send numbers as floating point. */
const integer = (value: number | null) => (value === null ? null : BigInt(value));
