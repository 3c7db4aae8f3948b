import { faultGroups, planOf, type SimChoice } from "./plan.ts";
import { runChoice, type SimOutcome } from "./sim-run.ts";

/** The least of a world that still fails in the same way. Every step is a world of its own; at most `maxRuns` are run. */
export async function shrinkChoice(
  choice: SimChoice,
  oracle: string,
  folder: string,
  maxRuns = 40,
): Promise<{ readonly choice: SimChoice; readonly outcome: SimOutcome; readonly runs: number }> {
  let best = choice;
  let outcome = await runChoice(best, folder);
  let runs = 1;
  const tries = async (candidate: SimChoice): Promise<boolean> => {
    if (runs >= maxRuns) return false;
    runs++;
    const found = await runChoice(candidate, folder);
    if (found.isSound || found.oracle !== oracle) return false;
    [best, outcome] = [candidate, found];
    return true;
  };
  for (const group of faultGroups) {
    if (!(best.without ?? []).includes(group)) await tries({ ...best, without: [...(best.without ?? []), group] });
  }
  const { followers, sites } = planOf(best);
  for (let count = 0; count < followers.length; count++) if (await tries({ ...best, followers: count })) break;
  for (let count = 2; count < sites.length; count++) if (await tries({ ...best, sites: count })) break;
  // Halve while it fails, then take away one by one.
  for (let step = planOf(best).edits >> 1; step >= 1; ) {
    const { edits } = planOf(best);
    if (edits - step < 1 || !(await tries({ ...best, edits: edits - step }))) step >>= 1;
  }
  return { choice: best, outcome, runs };
}

/** The arguments that run a choice again. */
export function argumentsOf({ seed, without, sites, followers, edits }: SimChoice, seeds = 1): string {
  return [
    `sim --seeds ${seeds} --seed ${seed}`,
    ...(without !== undefined && without.length > 0 ? [`--without ${without.join(",")}`] : []),
    ...(sites === undefined ? [] : [`--sites ${sites}`]),
    ...(followers === undefined ? [] : [`--followers ${followers}`]),
    ...(edits === undefined ? [] : [`--edits ${edits}`]),
  ].join(" ");
}
