import { groupedWrongQuery } from "./aggregate/grouped-update.ts";
import { RowWriter } from "./body-rows.ts";
import { encodeKey } from "./key-codec.ts";
import type { KeyRange, Plan } from "./plan.ts";
import { type Repair, rowsAtOnce } from "./repair.ts";

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
  const { body } = plan.migration;
  if (plan.wrongInSql() !== undefined) {
    return {
      async wrongIn(range, setAside) {
        const limit = maxWrong + setAside.size;
        const query = groupedWrongQuery(plan, range, limit) ?? plan.wrongQuery(range, limit);
        const keys = (await plan.database.connection.execute(query)).rows.map(encodeKey);
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
            (mapped.values === undefined ||
              writer.isAsRead(read, mapped.values) ||
              (await writer.isAsMapped(read, mapped.values, executor)));
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
  repair?: Repair,
): Promise<string | undefined> {
  const wrong: string[] = [];
  const pending: string[] = [];
  const putRight = async () => {
    if (pending.length > 0) wrong.push(...((await repair?.(pending.splice(0))) ?? []));
  };
  for await (const range of slices) {
    let found = await verifier.wrongIn(range, setAside);
    if (repair === undefined) wrong.push(...found);
    else {
      pending.push(...found);
      // A slice tells of so many at a time; the others are seen when those are right.
      while (found.length >= maxWrong && wrong.length === 0) {
        await putRight();
        found = await verifier.wrongIn(range, setAside);
        pending.push(...found);
      }
      if (pending.length >= rowsAtOnce) await putRight();
    }
    if (wrong.length >= maxWrong) return describe(wrong, false);
  }
  await putRight();
  return wrong.length === 0 ? undefined : describe(wrong, true);
}

function describe(keys: readonly string[], isComplete: boolean): string {
  const shown = keys.slice(0, maxShown).join(", ");
  const more = keys.length > maxShown ? ", …" : "";
  return `${keys.length}${isComplete ? "" : " or more"} rows are not as they should be: ${shown}${more}`;
}
