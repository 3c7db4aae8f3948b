import { MigrateError } from "./migrate-error.ts";
import { type PaceOptions, paceDefaults } from "./pace.ts";
import { type ServoOptions, servoDefaults } from "./servo.ts";

/** The knobs of one migration. */
export interface MigrationTuning extends ServoOptions, PaceOptions {
  /**
   * Rows in quarantine above which the run fails at once, at least 0: one poisonous row is bad luck, thousands are a
   * wrong definition.
   * @default 100
   */
  readonly maxQuarantined?: number;
  /**
   * How long rows may be counted before the total is left open, in milliseconds, at least 0.
   * @default 2000
   */
  readonly maxCountMs?: number;
  /**
   * How long a chunk may take with everything around its transaction, such as the functions of a mapper, in
   * milliseconds. What it holds its locks for is `targetMs`.
   * @default 500
   */
  readonly maxChunkMs?: number;
}

/** The defaults of `MigrationTuning`. */
export const tuningDefaults = {
  ...servoDefaults,
  ...paceDefaults,
  maxQuarantined: 100,
  maxCountMs: 2000,
  maxChunkMs: 500,
} as const satisfies Required<MigrationTuning>;

/**
 * The knobs as they are now: those of the definition, and over them what the books say, see {@link retuned}.
 *
 * @throws {MigrateError} `OPTIONS_INVALID` where the definition is another one by now, and what the books say does not fit it
 */
export function tunedBy(tuning: Required<MigrationTuning>, json: string | undefined): Required<MigrationTuning> {
  if (json === undefined) return tuning;
  try {
    return resolveTuning({ ...tuning, ...(JSON.parse(json) as MigrationTuning) });
  } catch (error) {
    const message = `what was tuned, ${json}, does not fit the definition any more; tune it anew and retry`;
    throw new MigrateError("OPTIONS_INVALID", message, { cause: error });
  }
}

/**
 * What the books say after a change; a knob that is undefined gets back what its definition says.
 *
 * @throws {MigrateError} `OPTIONS_INVALID`
 */
export function retuned(
  tuning: Required<MigrationTuning>,
  json: string | undefined,
  changes: MigrationTuning,
): string | undefined {
  const unknown = Object.keys(changes).find((name) => !(name in tuningDefaults));
  if (unknown !== undefined) {
    const known = Object.keys(tuningDefaults).join(", ");
    throw new MigrateError("OPTIONS_INVALID", `"${unknown}" is no knob of a migration; there are ${known}`);
  }
  const kept = { ...(JSON.parse(json ?? "{}") as MigrationTuning), ...changes };
  const overrides = Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
  resolveTuning({ ...tuning, ...overrides });
  if (Object.keys(overrides).length === 0) return undefined;
  // JSON makes null of what is infinite, which would be the default.
  return JSON.stringify(overrides, (_, value: unknown) => (value === Infinity ? Number.MAX_VALUE : value));
}

/** @throws {MigrateError} `OPTIONS_INVALID` */
export function resolveTuning(options: MigrationTuning): Required<MigrationTuning> {
  const resolved = Object.fromEntries(
    Object.entries(tuningDefaults).map(([name, value]) => [name, options[name as keyof MigrationTuning] ?? value]),
  ) as unknown as Required<MigrationTuning>;
  requireAbove("targetMs", resolved.targetMs, 0);
  requireAtLeast("maxChunkMs", resolved.maxChunkMs, resolved.targetMs);
  for (const name of ["nice", "minGapMs", "maxGapMs", "maxQuarantined", "maxCountMs"] as const) {
    requireAtLeast(name, resolved[name], 0);
  }
  requireRows("minRows", resolved.minRows, 1);
  requireRows("maxRows", resolved.maxRows, resolved.minRows);
  requireRows("initialRows", resolved.initialRows, 1);
  return resolved;
}

/** @throws {MigrateError} `OPTIONS_INVALID` */
export function requireAbove(name: string, value: number, bound: number): void {
  if (!(value > bound)) throw new MigrateError("OPTIONS_INVALID", `${name} must be above ${bound}, got ${value}`);
}

/** @throws {MigrateError} `OPTIONS_INVALID` */
function requireAtLeast(name: string, value: number, bound: number): void {
  if (!(value >= bound)) throw new MigrateError("OPTIONS_INVALID", `${name} must be at least ${bound}, got ${value}`);
}

function requireRows(name: string, value: number, bound: number): void {
  if (Number.isSafeInteger(value) && value >= bound) return;
  throw new MigrateError("OPTIONS_INVALID", `${name} must be a whole number of at least ${bound}, got ${value}`);
}
