import type { StatementShape } from "./statement-shape.ts";

type Rule = readonly [pattern: RegExp, why: string, instead: string];

const anyIndex = /^create (unique )?index\b/;

const rules: Readonly<Record<"sqlite" | "postgresql" | "mysql", readonly Rule[]>> = {
  sqlite: [
    [anyIndex, "reads all rows while nobody else can write", "do it in a quiet hour and say how long it takes"],
    [
      /^alter table .*\bdrop (column )?(\?|\w+)/,
      "rewrites the whole table while nobody else can write",
      "leave the column, or measure it",
    ],
    [
      /^alter table .*\badd .*\bcheck\b/,
      "looks at all rows while nobody else can write",
      "check in the application, or measure it",
    ],
    [/^(vacuum|reindex)\b/, "rewrites while nobody else can write", "run it in a quiet hour, outside of a migration"],
  ],
  postgresql: [
    [
      /^create (unique )?index (?!concurrently)/,
      "shuts out every writer while it reads all rows",
      "CREATE INDEX CONCURRENTLY",
    ],
    [
      /^alter table .*\balter (column )?(\?|\w+) (set data )?type\b/,
      "rewrites the whole table while nobody can even read it",
      "a new column, a migration that fills it, and a swap",
    ],
    [
      /^alter table .*\bset not null\b/,
      "reads all rows while nobody can even read the table",
      "a CHECK (… IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT, then SET NOT NULL",
    ],
    [
      /^alter table .*\badd .*\b(foreign key|references|check)\b(?!.*\bnot valid\b)/,
      "reads all rows under its lock",
      "NOT VALID now, and VALIDATE CONSTRAINT later",
    ],
    [
      /^alter table .*\badd (constraint (\?|\w+) )?(unique|primary key|exclude)\b(?!.*\busing index\b)/,
      "builds an index under a lock that shuts out everybody",
      "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX",
    ],
    [
      /^alter table .*\badd .*\bgenerated always as \(.*\bstored\b/,
      "rewrites the whole table while nobody can even read it",
      "a plain column and a migration that fills it",
    ],
    [
      // Of a new column alone: the word behind `add` is its name.
      /^alter table .*\badd (column )?(if not exists )?(\?|(?!constraint\b|generated\b)\w+) .*\b(unique|primary key)\b(?!.*\busing index\b)/,
      "builds an index under a lock that shuts out everybody",
      "a column, CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX",
    ],
    [
      /^alter table .*\badd (column )?(if not exists )?(\?|(?!generated\b)\w+) .*\bgenerated (always|by default) as identity\b/,
      "rewrites the whole table while nobody can even read it",
      "a plain column and a migration that fills it",
    ],
    [
      /^alter table .*\badd (column )?(if not exists )?(\?|\w+) (small|big)?serial\b/,
      "rewrites the whole table while nobody can even read it",
      "a plain column and a migration that fills it",
    ],
    [
      /^alter table .*\badd .*\bdefault (\( )?(?!now \(|current_)(\?|\w+)( \. (\?|\w+))? \(/,
      "computes a default for every row while nobody can even read the table, if it is volatile",
      "add it without a default, set the default, and fill it with a migration",
    ],
    [
      /^alter table .*\bset (tablespace|logged|unlogged)\b/,
      "rewrites the whole table while nobody can even read it",
      "a copy that is swapped in",
    ],
    [
      /^(cluster|vacuum \(? ?full)\b/,
      "rewrites the whole table while nobody can even read it",
      "a plain VACUUM, or a tool that copies online",
    ],
    [/^reindex (?!.*\bconcurrently\b)/, "shuts out every writer", "REINDEX … CONCURRENTLY"],
    [/^refresh materialized view (?!concurrently)/, "shuts out every reader", "REFRESH MATERIALIZED VIEW CONCURRENTLY"],
  ],
  mysql: [
    [
      /^alter table .*\b(modify|change)\b/,
      "may copy the whole table while nobody can write",
      "ALGORITHM=INPLACE, LOCK=NONE, which fails where it cannot",
    ],
    [
      /^alter table .*\bconvert to\b/,
      "copies the whole table while nobody can write",
      "a new table or column and a migration that fills it",
    ],
    [
      /^alter table .*\b(add|drop) (constraint (\?|\w+) )?primary key\b/,
      "rebuilds the whole table",
      "ALGORITHM=INPLACE, LOCK=NONE, which fails where it cannot",
    ],
    [
      /^alter table .*\badd (constraint (\?|\w+) )?foreign key\b/,
      "copies the whole table while nobody can write",
      "ALGORITHM=INPLACE with foreign_key_checks off, and a check of the rows by a migration",
    ],
    [
      /^alter table .*\badd (fulltext|spatial)\b|^create (fulltext|spatial) index\b/,
      "shuts out every writer",
      "a quiet hour, measured",
    ],
    [/^alter table .*\bengine =/, "copies the whole table", "a quiet hour, measured"],
    [
      /^alter table .*\balgorithm = ?copy\b/,
      "copies the whole table while nobody can write",
      "ALGORITHM=INPLACE, LOCK=NONE",
    ],
    [/^optimize table\b/, "rebuilds the whole table", "run it in a quiet hour, outside of a migration"],
  ],
};

/** Why a change of a schema blocks others; undefined: it does not. */
export function blockingDdl(
  { words }: StatementShape,
  dialect: "sqlite" | "postgresql" | "mysql",
): { readonly why: string; readonly instead: string } | undefined {
  // The server refuses what cannot be done so.
  if (dialect === "mysql" && /\balgorithm ?=? ?(instant|inplace|nocopy)\b/.test(words)) {
    if (/\balgorithm ?=? ?instant\b|\block ?=? ?none\b/.test(words)) return undefined;
  }
  const found = rules[dialect].find(([pattern]) => pattern.test(words));
  return found === undefined ? undefined : { why: found[1], instead: found[2] };
}
