import { type BookColumn, type BookTable, books } from "./bookkeeping.ts";

/** How a database spells the tables of the books. */
export interface BookStyle {
  quote(name: string): string;
  /** The type of a column beside the key, without its default. */
  typeOf(column: BookColumn): string;
  /** The type of a column of the key. */
  keyTypeOf(type: BookTable["identity"][number]["type"], name: string): string;
  /** Behind the closing parenthesis. */
  readonly tail: string;
}

/** Statements that bring the books up to what this version keeps in them; `found` are the columns a table has. */
export async function missingBooks(
  style: BookStyle,
  found: (table: string) => Promise<readonly string[]>,
): Promise<string[]> {
  const statements: string[] = [];
  for (const table of books) {
    const existing = await found(table.name);
    if (existing.length === 0) statements.push(createTable(style, table));
    else {
      for (const [name, column] of Object.entries<BookColumn>(table.columns)) {
        if (existing.includes(name)) continue;
        statements.push(`alter table ${style.quote(table.name)} add column ${declare(style, name, column)}`);
      }
    }
  }
  return statements;
}

function createTable(style: BookStyle, { name, identity, columns }: BookTable): string {
  const parts = identity.map((part) => `${style.quote(part.name)} ${style.keyTypeOf(part.type, part.name)}`);
  parts.push(...Object.entries(columns).map(([column, declared]) => declare(style, column, declared)));
  if (!identity.some(({ type }) => type === "serial")) {
    parts.push(`primary key (${identity.map((part) => style.quote(part.name)).join(", ")})`);
  }
  return `create table ${style.quote(name)} (${parts.join(", ")})${style.tail}`;
}

function declare(style: BookStyle, name: string, column: BookColumn): string {
  // The defaults are of this package, and none has a quote in it.
  const value = typeof column.default === "string" ? `'${column.default}'` : column.default;
  return `${style.quote(name)} ${style.typeOf(column)}${value === undefined ? "" : ` not null default ${value}`}`;
}
