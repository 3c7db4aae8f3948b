import { is, Param, Placeholder, type SQL, sql } from "drizzle-orm";
import type { SqlQuery, SqlValue } from "./connection.ts";
import type { Dialect } from "./dialect.ts";

/** A slot of a {@link Template}, as an expression. */
export const slot = (index: number): SQL => sql`${sql.placeholder(String(index))}`;

/** A slot where a value goes that is made a parameter elsewhere. */
export const slotValue = (index: number): SqlValue => sql.placeholder(String(index)) as unknown as SqlValue;

/** A statement whose text is made once and whose slots are filled anew for each use: making it costs more than running it. */
export class Template {
  readonly sql: string;
  /** For each parameter its slot, or the parameter itself. */
  readonly #params: readonly (number | { readonly value: unknown })[];

  constructor(dialect: Dialect, statement: SQL) {
    const { sql: text, params } = dialect.toQuery(statement);
    this.sql = text;
    this.#params = params.map((param) => {
      const inner = is(param, Param) ? param.value : param;
      if (is(inner, Placeholder)) return Number(inner.name);
      return { value: dialect.bindable === undefined ? param : dialect.bindable(param) };
    });
  }

  params(values: readonly unknown[]): unknown[] {
    return this.#params.map((param) => (typeof param === "number" ? values[param] : param.value));
  }

  fill(values: readonly unknown[]): SqlQuery {
    return { sql: this.sql, params: this.params(values) };
  }
}
