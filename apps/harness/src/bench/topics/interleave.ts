import type { TopicsBenchOptions } from "./options.ts";

/** Something that is measured against others. */
export interface Contender<T> {
  readonly name: string;
  run(rep: number): Promise<T>;
}

/** What a contender did in each repetition. */
export interface Measured<T> {
  readonly name: string;
  readonly runs: readonly T[];
}

/** Every contender once per repetition, each time beginning with another one. */
export async function interleave<T>(
  contenders: readonly Contender<T>[],
  { reps, say }: TopicsBenchOptions,
  show: (run: T) => string,
): Promise<readonly Measured<T>[]> {
  const runs = contenders.map((): T[] => []);
  for (let rep = 0; rep < reps; rep++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (turn + rep) % contenders.length;
      const contender = contenders[index] as Contender<T>;
      const run = await contender.run(rep);
      runs[index]?.push(run);
      say(`  ${rep + 1}/${reps} ${contender.name}: ${show(run)}`);
    }
  }
  return contenders.map(({ name }, index) => ({ name, runs: runs[index] ?? [] }));
}

/** What was measured of the contender of this name; nothing if it was not there. */
export function runsOf<T>(measured: readonly Measured<T>[], name: string): readonly T[] {
  return measured.find((each) => each.name === name)?.runs ?? [];
}
