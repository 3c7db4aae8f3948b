import { type Column, sql } from "drizzle-orm";
import type { BodyRunner, Effect, PoisonRow, Prepared } from "./chunk.ts";
import { executeEach, type SqlExecutor, type SqlValue } from "./connection.ts";
import { columnOf } from "./definition.ts";
import { encodeKey } from "./key-codec.ts";
import { MigrateError } from "./migrate-error.ts";
import type { Key, KeyRange, Plan } from "./plan.ts";
import { slot, Template } from "./template.ts";

/** A row as it was read: what the function gets, and what the database gave, for the comparison. */
interface ReadRow {
  readonly key: Key;
  readonly row: Record<string, unknown>;
  /** What a column cannot read of its value, as with JSON that is none: that is of the row. */
  readonly error?: string;
  /** Values of the columns that are read or written, in the order of {@link RowReader.columns}. */
  readonly raw: readonly SqlValue[];
}

/** Reads rows for functions. */
export class RowReader {
  readonly #plan: Plan;
  readonly #read: readonly string[];
  readonly columns: readonly Column[];

  constructor(plan: Plan, read: readonly string[], write: readonly string[]) {
    this.#plan = plan;
    this.#read = read;
    this.columns = [...new Set([...read, ...write])].map((property) => columnOf(plan.migration, property));
  }

  async rows(range: KeyRange, executor?: SqlExecutor, isLocked = false): Promise<ReadRow[]> {
    const plan = this.#plan;
    const selected = sql.join(
      [plan.selectedKey, ...this.columns.map((column) => plan.database.dialect.select(column))],
      sql`, `,
    );
    const lock = isLocked ? plan.database.dialect.lockSuffix : sql.raw("");
    const query = plan.queryOf(
      isLocked ? "locked rows" : "rows",
      range,
      (symbolic) => sql`select ${selected} from ${plan.table} where ${plan.matching(symbolic)}
      order by ${plan.inKeyOrder()}${lock}`,
    );
    const { rows } = await (executor ?? plan.database.connection).execute(query);
    return rows.map((values) => this.#readRow(values.slice(0, plan.key.length), values.slice(plan.key.length)));
  }

  #readRow(key: Key, raw: readonly SqlValue[]): ReadRow {
    const row: Record<string, unknown> = {};
    let index = 0;
    try {
      for (; index < this.#read.length; index++) row[this.#read[index] as string] = this.#decode(index, raw[index]);
      return { key, raw, row };
    } catch (error) {
      return { key, raw, row, error: `"${this.#read[index]}" cannot be read: ${messageOf(error)}` };
    }
  }

  #decode(index: number, value: SqlValue | undefined): unknown {
    const column = this.columns[index];
    if (column === undefined || value === undefined) return null;
    return this.#plan.database.dialect.fromDriver(column, value);
  }
}

/** Reads, maps and compares outside of the transaction, writes in it. */
export function mapBody(plan: Plan, signal: AbortSignal): BodyRunner {
  const writer = new RowWriter(plan);
  return {
    async prepare(range): Promise<Prepared> {
      const rows = await writer.reader.rows(range);
      const writes: MappedRow[] = [];
      const poison: PoisonRow[] = [];
      for (const read of rows) {
        signal.throwIfAborted();
        const mapped = await writer.map(read);
        if ("error" in mapped) poison.push({ key: read.key, error: mapped.error });
        else if (mapped.values !== undefined) writes.push({ read, values: mapped.values });
      }
      return async (executor): Promise<Effect> => {
        const missed = await writer.writeIfSame(writes, executor);
        let changed = writes.length - missed.length;
        const late: PoisonRow[] = [];
        for (const { read } of missed) {
          const again = await writer.again(read, executor);
          if (again === "written") changed++;
          else if (again !== "left") late.push(again);
        }
        const allPoison = [...poison, ...late];
        return { done: rows.length - allPoison.length, changed, poison: allPoison };
      };
    },
  };
}

/** A row and what the function says about it. */
interface MappedRow {
  readonly read: ReadRow;
  readonly values: ReadonlyMap<string, unknown>;
}

type Mapped = { readonly values: ReadonlyMap<string, unknown> | undefined } | { readonly error: string };

/** Writes mapped rows back where they still are what was read. */
export class RowWriter {
  readonly reader: RowReader;
  readonly #plan: Plan;
  readonly #map: (row: Record<string, unknown>) => unknown;
  readonly #write: readonly string[];
  readonly #templates = new Map<string, Template>();

  constructor(plan: Plan) {
    const { body } = plan.migration;
    if (body.type !== "map") throw new Error(`not a mapper: ${body.type}`);
    this.#plan = plan;
    this.#map = body.map;
    this.#write = body.write;
    this.reader = new RowReader(plan, body.read, body.write);
  }

  /** What the function says about a row, as the database takes it; a throw is of the row, not of the run. */
  async map({ row, error: unread }: ReadRow): Promise<Mapped> {
    if (unread !== undefined) return { error: unread };
    try {
      const mapped = await this.#map(row);
      if (mapped === undefined) return { values: undefined };
      if (typeof mapped !== "object" || mapped === null) {
        throw new MigrateError("BODY_FAILED", `map must return an object or undefined, got ${typeof mapped}`);
      }
      const entries = Object.entries(mapped).filter(([, value]) => value !== undefined);
      const values = new Map(entries.map(([property, value]) => [property, this.#toDriver(property, value)]));
      return { values: values.size === 0 ? undefined : values };
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  /** Resolves with the rows that are not what was read any more. */
  async writeIfSame(rows: readonly MappedRow[], executor: SqlExecutor): Promise<MappedRow[]> {
    const missed: MappedRow[] = [];
    for (const group of Map.groupBy(rows, ({ values }) => this.#template(values, "compared"))) {
      const [template, members] = group;
      const lists = members.map(({ read, values }) => template.params([...values.values(), ...read.key, ...read.raw]));
      const changes = await executeEach(executor, template.sql, lists);
      missed.push(...members.filter((_, index) => changes[index] === 0));
    }
    return missed;
  }

  /**
   * Somebody changed the row since it was read. Where a written column changed, the live write wins; where only inputs
   * did, the row is mapped again as it is now, and nobody can change it any more before the commit.
   */
  async again(read: ReadRow, executor: SqlExecutor): Promise<"written" | "left" | PoisonRow> {
    const range = { after: undefined, upTo: read.key, isSingle: true };
    const [now] = await this.reader.rows(range, executor, true);
    if (now === undefined || this.#wasWritten(read, now)) return "left";
    const mapped = await this.map(now);
    if ("error" in mapped) return { key: read.key, error: mapped.error };
    if (mapped.values === undefined) return "left";
    await executor.execute(this.#template(mapped.values, "forced").fill([...mapped.values.values(), ...read.key]));
    return "written";
  }

  /** Whether the row has what the function says, where that can be seen without asking; no more than a short cut. */
  isAsRead({ raw }: ReadRow, values: ReadonlyMap<string, unknown>): boolean {
    const { dialect } = this.#plan.database;
    for (const [property, made] of values) {
      const value = dialect.sent === undefined ? made : dialect.sent(made);
      const index = this.reader.columns.indexOf(columnOf(this.#plan.migration, property));
      if (!isSurelySame(raw[index], value)) return false;
    }
    return true;
  }

  /** Whether the row has what the function says, asked of the database, which knows what its columns make of values. */
  async isAsMapped(read: ReadRow, values: ReadonlyMap<string, unknown>, executor: SqlExecutor): Promise<boolean> {
    const query = this.#template(values, "checked").fill([...values.values(), ...read.key]);
    return (await executor.execute(query)).rows.length === 0;
  }

  #wasWritten(before: ReadRow, after: ReadRow): boolean {
    const written = new Set(this.#write.map((property) => columnOf(this.#plan.migration, property)));
    return this.reader.columns.some(
      (column, index) => written.has(column) && !isSameValue(before.raw[index], after.raw[index]),
    );
  }

  #toDriver(property: string, value: unknown): unknown {
    if (!this.#write.includes(property)) {
      throw new MigrateError(
        "BODY_FAILED",
        `map returned "${property}", which is not in write: ${this.#write.join(", ")}`,
      );
    }
    if (value === null) return null;
    const sent = columnOf(this.#plan.migration, property).mapToDriverValue(value);
    // What was read goes back as it is; what a function made is as JavaScript has it.
    const { dialect } = this.#plan.database;
    return dialect.bindable === undefined ? sent : dialect.bindable(sent);
  }

  /** The statement for rows that write these columns. Made once: it runs for every row. */
  #template(values: ReadonlyMap<string, unknown>, use: "compared" | "forced" | "checked"): Template {
    const id = `${use} ${[...values.keys()].join(" ")}`;
    let template = this.#templates.get(id);
    if (template === undefined) {
      const { database, table, key, migration } = this.#plan;
      const { dialect } = database;
      let index = 0;
      const next = () => slot(index++);
      const columns = [...values.keys()].map((property) => columnOf(migration, property));
      const sets = columns.map((column) => sql`${sql.identifier(dialect.nameOf(column))} = ${next()}`);
      if (use === "checked") {
        index = 0;
        const same = sql.join(
          columns.map((column) => dialect.isSame(column, next())),
          sql` and `,
        );
        const at = key.map((column) => sql`${column} = ${dialect.keyValue(column, next())}`);
        const found = sql`select 1 from ${table} where not (${same}) and ${sql.join(at, sql` and `)}`;
        template = new Template(dialect, found);
      } else {
        const wheres = key.map((column) => sql`${column} = ${dialect.keyValue(column, next())}`);
        if (use === "compared") {
          wheres.push(...this.reader.columns.map((column) => dialect.isUnchanged(column, next())));
          if (migration.where !== undefined) wheres.push(sql`(${migration.where})`);
        }
        const update = sql`update ${table} set ${sql.join(sets, sql`, `)} where ${sql.join(wheres, sql` and `)}`;
        template = new Template(dialect, update);
      }
      this.#templates.set(id, template);
    }
    return template;
  }
}

/** Calls for each row before the transaction that moves the cursor: once, or more often after a crash. */
export function effectBody(plan: Plan, signal: AbortSignal): BodyRunner {
  const { body, name } = plan.migration;
  if (body.type !== "effect") throw new Error(`not an effect: ${body.type}`);
  const reader = new RowReader(plan, body.read, []);
  return {
    isOutside: true,
    async prepare(range): Promise<Prepared> {
      const rows = await reader.rows(range);
      const poison: PoisonRow[] = [];
      for (const { key, row, error: unread } of rows) {
        signal.throwIfAborted();
        if (unread !== undefined) {
          poison.push({ key, error: unread });
          continue;
        }
        try {
          await body.effect(row, { idempotencyKey: `${name}:${encodeKey(key)}`, signal });
        } catch (error) {
          // Told to stop is not failed: the row is tried again with the same idempotency key.
          signal.throwIfAborted();
          poison.push({ key, error: messageOf(error) });
        }
      }
      const done = rows.length - poison.length;
      return () => Promise.resolve({ done, changed: done, poison });
    },
  };
}

/** What a column gave, given back to it, leaves it as it is. */
function isSurelySame(raw: SqlValue | undefined, value: unknown): boolean {
  if (typeof raw === "bigint")
    return (typeof value === "bigint" || Number.isSafeInteger(value)) && raw === BigInt(value as number);
  return (raw === null || typeof raw === "string") && raw === value;
}

function isSameValue(left: SqlValue | undefined, right: SqlValue | undefined): boolean {
  if (left instanceof Uint8Array && right instanceof Uint8Array) return Buffer.compare(left, right) === 0;
  return Object.is(left, right);
}

export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Of a host with several addresses: an error for each of them, and no word of its own.
  const [first] = error instanceof AggregateError && error.message === "" ? (error.errors as unknown[]) : [];
  return first === undefined ? error.message : messageOf(first);
}
