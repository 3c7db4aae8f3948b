import { expect, test } from "vitest";
import { mutants, mutantSuites } from "../src/mutants/catalogue.ts";
import { checkMutants, withMutant } from "../src/mutants/patch.ts";
import { runMutant, runMutantSuite } from "../src/mutants/run-mutant.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
/** Found in the first worlds; the others take longer. */
const quick = new Set(["acknowledges-what-is-received", "marker-in-a-transaction-of-its-own", "cursor-is-reset"]);

test("every mutant can be put into today's code", () => {
  checkMutants(mutants);
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
});

test("a mutant whose code has changed is an error", () => {
  const [mutant] = mutants as [(typeof mutants)[number]];
  expect(() => withMutant(mutant, "something else")).toThrow(/no longer applies.*0 times/);
  expect(() => withMutant(mutant, mutant.find + mutant.find)).toThrow(/no longer applies.*2 times/);
});

for (const mutant of mutants.filter(({ name }) => isLong || quick.has(name))) {
  test(`the simulation kills "${mutant.name}": ${mutant.had}`, { timeout: 600_000 }, async () => {
    const verdict = await runMutant(mutant, isLong ? 100 : 10);
    expect(verdict).toMatchObject({ isKilled: true });
  });
}

if (isLong) {
  for (const suite of mutantSuites) {
    test(`${suite.folder}/${suite.file} kills its mutants`, { timeout: 600_000 }, async () => {
      const verdicts = await runMutantSuite(suite);
      expect(verdicts.filter(({ isKilled }) => !isKilled)).toEqual([]);
    });
  }
}
