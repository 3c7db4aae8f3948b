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
  /** Keys of wrong rows in a range, as text, without those set aside; at most a hundred. */
  wrongIn(range: KeyRange, setAside: ReadonlySet<string>): Promise<string[]>;
}

/** Undefined where a row shows nothing of what was done, as with effects elsewhere. */
export function verifierOf(plan: Plan): Verifier | undefined {
  const wrong = plan.wrongInSql();
  const { where, remaining, body } = plan.migration;
  if (wrong !== undefined) {
    // `remaining` speaks for itself; what is computed again is so only for the rows the migration is about.
    const of = remaining === undefined && where !== undefined ? sql`(${where}) and ${wrong}` : wrong;
    return {
      async wrongIn(range, setAside) {
        const statement = sql`select ${plan.selectedKey} from ${plan.table}
          where ${plan.inRange(range)} and ${of} order by ${plan.inKeyOrder()} limit ${maxWrong + setAside.size}`;
        const keys = (await plan.database.execute(statement)).rows.map(encodeKey);
        return keys.filter((key) => !setAside.has(key));
      },
    };
  }
  if (body.type !== "map") return undefined;
  const writer = new RowWriter(plan);
  return {
    wrongIn(range, setAside) {
      // One snapshot: a row that somebody rewrites between the reading and the comparison is not wrong.
      return plan.database.transaction("read", async (executor) => {
        const wrongKeys: string[] = [];
        for (const read of await writer.reader.rows(range, executor)) {
          const key = encodeKey(read.key);
          if (setAside.has(key)) continue;
          const mapped = await writer.map(read);
          const isRight =
            !("error" in mapped) &&
            (mapped.values === undefined || (await writer.isAsMapped(read, mapped.values, executor)));
          if (!isRight) wrongKeys.push(key);
          if (wrongKeys.length >= maxWrong) break;
        }
        return wrongKeys;
      });
    },
  };
}

/** What is wrong in the slices, for people; undefined: nothing. Stops when it is enough to fail. */
export async function findWrong(
  verifier: Verifier,
  slices: AsyncIterable<KeyRange>,
  setAside: ReadonlySet<string>,
): Promise<string | undefined> {
  const wrong: string[] = [];
  for await (const range of slices) {
    wrong.push(...(await verifier.wrongIn(range, setAside)));
    if (wrong.length >= maxWrong) return describe(wrong, false);
  }
  return wrong.length === 0 ? undefined : describe(wrong, true);
}

function describe(keys: readonly string[], isComplete: boolean): string {
  const shown = keys.slice(0, maxShown).join(", ");
  const more = keys.length > maxShown ? ", …" : "";
  return `${keys.length}${isComplete ? "" : " or more"} rows are not as they should be: ${shown}${more}`;
}
