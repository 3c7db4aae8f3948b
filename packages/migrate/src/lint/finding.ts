/** What can be found. Ids are API: annotations and reports of CI name them. */
export const lintRules = {
  "full-table-write":
    "One statement writes, or looks through, a whole table, and whoever wants its rows waits to its end.",
  "blocking-ddl": "A change of the schema that shuts others out for as long as it reads or rewrites a table.",
  "chunk-scans": "A statement of every chunk reads a whole table: the migration takes chunks times rows.",
  "sentinel-predicate": "Rows that are left are told by a value that a finished row may have, too.",
  "missing-bound":
    "A part of the rows is taken without an order, so that nothing says that it ends or does not repeat.",
  "vacuous-remaining": "The condition of what remains asks no column, so that verification finds nothing, ever.",
  "non-idempotent": "A value is computed from itself: visiting a row again changes it again.",
  unplanned: "A statement that could not be planned, and so is not known to be harmless.",
  "annotation-invalid": "An annotation without measured evidence, or with evidence that is too old or too slow.",
  "annotation-unused": "An annotation that allows nothing that was found.",
} as const satisfies Readonly<Record<string, string>>;

export type LintRule = keyof typeof lintRules;

/** One thing that was found. */
export interface LintFinding {
  readonly rule: LintRule;
  /** As it was given, or as its folder was. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** Of a definition. */
  readonly migration?: string;
  /** What is wrong, and what to do. */
  readonly message: string;
  /** The statement, in one line and not too long. */
  readonly statement?: string;
}

export const shortened = (text: string, length = 160) => {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length <= length ? line : `${line.slice(0, length - 1)}…`;
};
