import { Column, is, Param, SQL, StringChunk, Subquery, type SQLWrapper, Table } from "drizzle-orm";

const isWrapper = (value: unknown): value is SQLWrapper =>
  typeof value === "object" && value !== null && "getSQL" in value && typeof value.getSQL === "function";

/**
 * Whether an expression mentions a column, as an object or by name in its text. It errs on the side of yes: a word of
 * the same spelling may be something else, and the caller only asks for more when it is told yes.
 */
export function mentionsColumn(value: unknown, column: Column): boolean {
  if (Array.isArray(value)) return value.some((each) => mentionsColumn(each, column));
  // A foreign table's column of the same name is another column.
  if (is(value, Column)) return value === column;
  // Its SQL is itself; so is that of a bound value.
  if (is(value, Table) || is(value, Param)) return false;
  if (is(value, StringChunk)) {
    // Followed by a parenthesis it is a function.
    const name = column.name.replaceAll(/[^\w]/g, "\\$&");
    const word = new RegExp(`(?<![\\w$])${name}(?![\\w$])(?!\\s*\\()`, "i");
    return value.value.some((text) => word.test(text));
  }
  if (is(value, SQL)) return value.queryChunks.some((chunk) => mentionsColumn(chunk, column));
  if (is(value, Subquery)) return mentionsColumn(value._.sql, column);
  return isWrapper(value) && mentionsColumn(value.getSQL(), column);
}

/** Whether an expression looks at other rows than its own, which is what makes it slow. It errs on the side of yes. */
export function readsElsewhere(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(readsElsewhere);
  if (is(value, StringChunk)) return value.value.some((text) => /\bselect\b/i.test(text));
  if (is(value, SQL)) return value.queryChunks.some(readsElsewhere);
  if (is(value, Subquery)) return true;
  if (is(value, Param)) return false;
  return isWrapper(value) && !is(value, Column) && !is(value, Table) && readsElsewhere(value.getSQL());
}
