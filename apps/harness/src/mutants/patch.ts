import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Mutant } from "./catalogue.ts";

/** The repository: this file runs from its sources alone. */
export const repository = fileURLToPath(new URL("../../../..", import.meta.url));

/**
 * The source with the bug in it.
 *
 * @throws when what is to be replaced is not there exactly once: then the catalogue has to follow the code.
 */
export function withMutant(mutant: Mutant, source: string): string {
  const count = source.split(mutant.find).length - 1;
  if (count !== 1) {
    throw new Error(
      `the mutant ${mutant.name} no longer applies: ${mutant.file} has its text ${count} times, expected once: ${mutant.find}`,
    );
  }
  // A function, because a replacement may have a dollar sign.
  return source.replace(mutant.find, () => mutant.replace);
}

/** Throws unless every mutant can be put into today's code. */
export function checkMutants(mutants: readonly Mutant[]): void {
  for (const mutant of mutants) withMutant(mutant, readFileSync(join(repository, mutant.file), "utf8"));
}
