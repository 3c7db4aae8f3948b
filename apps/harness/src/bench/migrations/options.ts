/** What the command line decides about `bench migrations`. */
export interface MigrationsBenchOptions {
  readonly reps: number;
  /** Small tables and one repetition: whether it works, not how fast. */
  readonly quick: boolean;
  readonly parts: readonly MigrationsBenchPart[];
  /** Where databases are kept for the next time; undefined: nowhere. */
  readonly dataDir?: string;
  /** Told what is going on. */
  readonly say: (line: string) => void;
}

export const migrationsBenchParts = [
  "sqlite",
  "sqlite-cold",
  "sqlite-lean",
  "sqlite-rows",
  "sqlite-long",
  "postgres",
  "mariadb",
  "pglite",
] as const;
export type MigrationsBenchPart = (typeof migrationsBenchParts)[number];

/** How many rows there are and how wide the children are: the seed's, or one that fits into any cache. */
export interface Shape {
  readonly parents: number;
  readonly children: number;
  /** Bytes in each child that nobody looks at. */
  readonly ballast: number;
}

const seed = { parents: 71_000, children: 1_500_000, ballast: 1_270 } as const satisfies Shape;

export function shapeOf(part: MigrationsBenchPart, quick: boolean): Shape {
  const ballast = part === "sqlite" || part === "sqlite-cold" ? seed.ballast : 40;
  if (quick) return { parents: 10_000, children: 200_000, ballast: Math.min(ballast, 200) };
  return { ...seed, ballast };
}
