import { sql } from "drizzle-orm";
import { RowWriter } from "./body-rows.ts";
import { encodeKey } from "./key-codec.ts";
import type { KeyRange, Plan } from "./plan.ts";

/** Keys that are told when rows are wrong. */
const maxShown = 5;
/** Wrong rows after which a slice stops looking: the run fails anyway. */
const maxWrong = 100;

/** Finds rows that are not as they should be. */
export interface Verifier {
  /** Keys of wrong rows in a range, as text, at most a hundred. */
  wrongIn(range: KeyRange): Promise<string[]>;
}

/** Undefined where a row shows nothing of what was done, as with effects elsewhere. */
export function verifierOf(plan: Plan): Verifier | undefined {
  const wrong = plan.wrongInSql();
  const { where, remaining, body } = plan.migration;
  if (wrong !== undefined) {
    // `remaining` speaks for itself; what is computed again is so only for the rows the migration is about.
    const of = remaining === undefined && where !== undefined ? sql`(${where}) and ${wrong}` : wrong;
    return {
      async wrongIn(range) {
        const statement = sql`select ${plan.selectedKey} from ${plan.table}
          where ${plan.inRange(range)} and ${of} order by ${plan.inKeyOrder()} limit ${maxWrong}`;
        return (await plan.database.execute(statement)).rows.map(encodeKey);
      },
    };
  }
  if (body.type !== "map") return undefined;
  const writer = new RowWriter(plan);
  return {
    wrongIn(range) {
      // One snapshot: a row that somebody rewrites between the reading and the comparison is not wrong.
      return plan.database.transaction("read", async (executor) => {
        const wrongKeys: string[] = [];
        for (const read of await writer.reader.rows(range, executor)) {
          const mapped = await writer.map(read);
          const isRight =
            !("error" in mapped) &&
            (mapped.values === undefined || (await writer.isAsMapped(read, mapped.values, executor)));
          if (!isRight) wrongKeys.push(encodeKey(read.key));
          if (wrongKeys.length >= maxWrong) break;
        }
        return wrongKeys;
      });
    },
  };
}

/** What is told of wrong rows. */
export function describeWrong(keys: readonly string[], isComplete: boolean): string {
  const shown = keys.slice(0, maxShown).join(", ");
  const more = keys.length > maxShown ? ", …" : "";
  return `${keys.length}${isComplete ? "" : " or more"} rows are not as they should be: ${shown}${more}`;
}

/** Counts the rows of a range. */
export async function countIn(plan: Plan, range: KeyRange): Promise<number> {
  const statement = sql`select count(*) from ${plan.table} where ${plan.matching(range)}`;
  return Number((await plan.database.execute(statement)).rows[0]?.[0]);
}
