/** What kind of trouble it is. Decides the exit code of the command line. */
export type DaemonErrorCode =
  | "USAGE"
  | "CONFIG_INVALID"
  | "NOT_FOUND"
  | "UNREACHABLE"
  | "ADDRESS_IN_USE"
  | "ADDRESS_INVALID"
  | "DATA_DIR"
  | "DATA_DIR_IN_USE"
  | "SCHEMA_NEWER"
  | "REFUSED"
  | "STILL_REFUSED"
  | "STOPPED_LATE"
  | "DATABASE"
  | "MIGRATION_REFUSED";

/** Exit codes of `tidemark`; part of the API. Everything that is not listed is 5, a failure nobody foresaw. */
export const exitCodes = {
  NOT_FOUND: 1,
  STILL_REFUSED: 1,
  MIGRATION_REFUSED: 1,
  USAGE: 2,
  CONFIG_INVALID: 2,
  UNREACHABLE: 3,
  ADDRESS_IN_USE: 4,
  ADDRESS_INVALID: 4,
  DATA_DIR: 4,
  DATA_DIR_IN_USE: 4,
  SCHEMA_NEWER: 4,
  DATABASE: 4,
  REFUSED: 5,
  STOPPED_LATE: 5,
} as const satisfies Record<DaemonErrorCode, number>;

const brand = Symbol.for("@tidemark/daemon/DaemonError");

export interface DaemonErrorOptions extends ErrorOptions {
  /** Lines that tell a person what to do about it. */
  readonly fix?: string | undefined;
}

/** The only error this package throws on purpose. `problem` and `fix` are written for the person at the terminal. */
export class DaemonError extends Error {
  override readonly name = "DaemonError";
  readonly code: DaemonErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly problem: string;
  readonly fix: string | undefined;
  readonly [brand] = true;

  constructor(code: DaemonErrorCode, problem: string, options: DaemonErrorOptions = {}) {
    super(`[${code}] ${problem}${options.fix === undefined ? "" : ` ${options.fix}`}`, options);
    this.code = code;
    this.retryable = code === "UNREACHABLE";
    this.problem = problem;
    this.fix = options.fix;
  }

  get exitCode(): number {
    return exitCodes[this.code];
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is DaemonError {
    return value instanceof Error && brand in value;
  }
}
