/** What went wrong, for code. The README says what to do about each. */
export type MigrateErrorCode =
  /** The body of a migration threw; its error is the `cause`. */
  | "BODY_FAILED"
  /** The engine was closed. */
  | "CLOSED"
  /** SQLite is not in WAL mode, or the connection has no busy timeout. */
  | "DATABASE_UNFIT"
  /** A module of definitions could not be loaded, or two definitions have one name. */
  | "DEFINITIONS_INVALID"
  /** A definition contradicts itself or its table. */
  | "DEFINITION_INVALID"
  /** The definition changed after its run had begun. */
  | "DEFINITION_DRIFTED"
  /** No SQLite driver is installed. */
  | "DRIVER_MISSING"
  /** The declared key is not unique, may be NULL, or cannot be found in the database. */
  | "KEY_INVALID"
  /** `requireDone` found a migration that is not done. */
  | "NOT_DONE"
  /** No migration has this name. */
  | "NOT_FOUND"
  | "OPTIONS_INVALID"
  /** All rows were visited, but some are in quarantine. */
  | "QUARANTINED"
  /** More rows are in quarantine than `maxQuarantined` allows. */
  | "QUARANTINE_FULL"
  /** The database refused a statement; its error is the `cause`. */
  | "SQL_FAILED"
  /** A command that the state of the run does not allow. */
  | "STATE_REFUSED"
  /** Verification found rows that are not as they should be. */
  | "VERIFY_FAILED"
  /** The thread of the engine ended by itself. */
  | "WORKER_DIED";

const brand = Symbol.for("@tidemark/migrate/MigrateError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class MigrateError extends Error {
  override readonly name = "MigrateError";
  /** What went wrong. */
  readonly code: MigrateErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: MigrateErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is MigrateError {
    return value instanceof Error && brand in value;
  }
}
