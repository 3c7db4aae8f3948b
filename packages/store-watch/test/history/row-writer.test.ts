import Database from "better-sqlite3";
import fc from "fast-check";
import { expect, test } from "vitest";
import { RowWriter } from "../../src/history/row-writer.ts";

/** A column over many rows: stretches in which it stays, counts up or does as it likes. */
const column = (rows: number) =>
  fc
    .array(
      fc.record({
        length: fc.integer({ min: 1, max: 150 }),
        form: fc.constantFrom("same", "counting", "own"),
        from: fc.oneof(fc.constant(null), fc.constantFrom("", "a1", "a2"), fc.nat(9), fc.constant(2 ** 40)),
      }),
      { minLength: 1, maxLength: 5 },
    )
    .map((stretches) => {
      const values: (number | string | null)[] = [];
      for (let index = 0; values.length < rows; index++) {
        const { length, form, from } = stretches[index % stretches.length] as (typeof stretches)[number];
        for (let row = 0; row < length; row++) {
          const step = form === "same" ? 0 : form === "counting" ? row : (row * row) % 3;
          values.push(typeof from === "number" ? from + step : form === "own" && step === 1 ? null : from);
        }
      }
      return values.slice(0, rows);
    });

test("writes the rows that were collected, whatever their columns have in common", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }).chain((rows) => fc.tuple(column(rows), column(rows), column(rows))),
      ([first, second, third]) => {
        const db = new Database(":memory:");
        db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c, shared, n)");
        const options = { table: "t", columns: ["a", "b", "c"], shared: ["shared"], counter: "n", lastId: 0 };
        const writer = new RowWriter(db, options);
        writer.share({ shared: "s", n: 7 });
        for (const [row, a] of first.entries()) {
          const at = writer.next();
          writer.values[at] = a;
          writer.values[at + 1] = second[row];
          writer.values[at + 2] = third[row];
        }
        writer.flush();
        const expected = first.map((a, row) => [row + 1, a, second[row], third[row], "s", 7 + row]);
        expect(db.prepare("SELECT * FROM t ORDER BY id").raw().all()).toEqual(expected);
        db.close();
      },
    ),
    { numRuns: 60 },
  );
});
