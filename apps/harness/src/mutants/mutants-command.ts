import { mutants, mutantSuites } from "./catalogue.ts";
import { checkMutants } from "./patch.ts";
import { type MutantVerdict, runMutant, runMutantSuite } from "./run-mutant.ts";

/** Worlds that a mutant may survive before it counts as not found. */
const maxSeeds = 100;

/** @returns the exit code */
export async function mutantsCommand(options: {
  readonly only: readonly string[];
  readonly isListing: boolean;
  readonly say: (line: string) => void;
}): Promise<number> {
  checkMutants(mutants);
  const chosen = mutants.filter(({ name }) => options.only.includes(name));
  if (options.isListing) {
    for (const { name, had, file } of chosen) process.stdout.write(`${name}: ${had} (${file})\n`);
    for (const { folder, file } of mutantSuites) process.stdout.write(`and those in ${folder}/${file}\n`);
    return 0;
  }
  const verdicts: MutantVerdict[] = [];
  const note = (verdict: MutantVerdict) => {
    verdicts.push(verdict);
    options.say(`${verdict.isKilled ? "killed" : "ALIVE "} ${verdict.name}: ${verdict.foundBy}`);
  };
  for (const mutant of chosen) note(await runMutant(mutant, maxSeeds));
  if (chosen.length === mutants.length) {
    for (const suite of mutantSuites) for (const verdict of await runMutantSuite(suite)) note(verdict);
  }
  process.stdout.write(`${renderVerdicts(verdicts)}\n`);
  return verdicts.every(({ isKilled }) => isKilled) ? 0 : 1;
}

function renderVerdicts(verdicts: readonly MutantVerdict[]): string {
  const rows = [
    ["mutant", "killed", "found by", "seconds"],
    ...verdicts.map(({ name, isKilled, foundBy, seconds }) => [
      name,
      isKilled ? "yes" : "NO",
      foundBy,
      seconds.toFixed(1),
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const killed = verdicts.filter(({ isKilled }) => isKilled).length;
  return [...lines, "", `${killed} of ${verdicts.length} killed`].join("\n");
}
