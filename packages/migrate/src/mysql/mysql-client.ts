import type { Clock } from "@tidemark/clock";
import { answerWithin, DatabaseAway, isAway } from "../away.ts";
import type { SqlQuery, SqlResult, SqlValue } from "../connection.ts";

/** What is used of a pool of `mysql2` or of `mysql2/promise`. */
export type MysqlClient = MysqlPromisePool | { promise(): MysqlPromisePool };

interface MysqlPromisePool {
  getConnection(): Promise<MysqlPoolConnection>;
}

interface MysqlPoolConnection {
  query(options: MysqlQuery): Promise<[unknown, unknown]>;
  on(event: "error", listener: () => void): unknown;
  destroy(): void;
  readonly connection: {
    on(event: "error", listener: () => void): unknown;
    readonly config?: object;
  };
}

/** What is below a connection of `mysql2/promise`; its types do not say so. */
interface MysqlCore {
  query(
    options: MysqlQuery,
    callback: (error: Error | null) => void,
  ): { on(event: "fields", listener: (columns: MysqlColumn[] | undefined) => void): unknown };
}

interface MysqlQuery {
  readonly sql: string;
  readonly rowsAsArray: true;
  readonly typeCast: (field: MysqlField) => Uint8Array | null;
}

interface MysqlField {
  buffer(): Uint8Array | null;
}

/** What the server says about a column of a result. */
interface MysqlColumn {
  readonly columnType: number;
  readonly characterSet: number;
}

interface MysqlHeader {
  readonly affectedRows: number;
  readonly info?: string;
}

/** One connection, until it is destroyed. */
export interface MysqlSession {
  /** Whether `row_count()` is of the rows that were found, and not only of those that have become others. */
  readonly countsFound: boolean;
  execute(query: SqlQuery): Promise<SqlResult>;
  /** Runs a block that gives a row and then goes on. */
  begin(query: SqlQuery): BegunBlock;
  destroy(): void;
}

/** A block that is under way. */
interface BegunBlock {
  /** Its first row, as soon as the server has sent it; no rows where the block is over without one. */
  readonly row: Promise<SqlResult>;
  /** When all of it is over. Rejects with what `row` rejected with, or with what happened behind the row. */
  readonly end: Promise<void>;
}

/** Where a parameter goes in the text of a statement: a character that SQL has no use for. */
export const slot = "\0";

export function promisePool(client: unknown): MysqlPromisePool | undefined {
  if (typeof client !== "object" || client === null) return undefined;
  const { promise, getConnection } = client as { readonly promise?: unknown; readonly getConnection?: unknown };
  if (typeof promise === "function") return (client as { promise(): MysqlPromisePool }).promise();
  return typeof getConnection === "function" ? (client as MysqlPromisePool) : undefined;
}

/** How many connections a pool has at most; undefined: it does not say. */
export function limitOf(pool: object): number | undefined {
  // Of the pool below; its types do not say so.
  const { pool: core } = pool as { readonly pool?: { readonly config?: { readonly connectionLimit?: unknown } } };
  const limit = core?.config?.connectionLimit;
  if (typeof limit !== "number") return undefined;
  // The driver's way to say that there is no limit.
  return limit === 0 ? Number.POSITIVE_INFINITY : limit;
}

/** Takes a connection out of the pool; it is never given back, because its session is changed. */
export async function openSession(
  pool: MysqlPromisePool,
  clock: Clock,
  answerTimeoutMs: number,
): Promise<MysqlSession> {
  const pending = pool.getConnection();
  const connection = await answerWithin(clock, answerTimeoutMs, pending).catch((error: unknown) => {
    // It may come when nobody waits for it any more.
    pending.then(
      (late) => late.destroy(),
      () => undefined,
    );
    return toldAway(error);
  });
  // Without a listener, a connection that is lost between two statements ends the process.
  connection.connection.on("error", () => undefined);
  return {
    countsFound: (flagsOf(connection.connection.config) & foundRows) !== 0,
    async execute(query) {
      const options = { sql: withLiterals(query), rowsAsArray: true, typeCast: bytesOf } as const;
      const answer = await answerWithin(clock, answerTimeoutMs, connection.query(options)).catch(toldAway);
      const [result, columns] = firstOf(answer);
      if (!Array.isArray(result)) return { rows: [], changes: matchedBy(result as MysqlHeader) };
      return { rows: rowsOf(result as MysqlRow[], columns as MysqlColumn[]), changes: 0 };
    },
    begin(query) {
      const row = Promise.withResolvers<SqlResult>();
      const ended = Promise.withResolvers<void>();
      let columns: MysqlColumn[] | undefined;
      const values: (Uint8Array | null)[] = [];
      // The server sends a row before it goes on, and the driver takes its values apart as they come; it tells of rows
      // only when everything is over, or without saying that the connection is lost.
      const typeCast = (field: MysqlField) => {
        const value = field.buffer();
        values.push(value);
        if (columns?.length === values.length) row.resolve({ rows: rowsOf([values], columns), changes: 0 });
        return value;
      };
      const options = { sql: withLiterals(query), rowsAsArray: true, typeCast } as const;
      const core = connection.connection as unknown as MysqlCore;
      const command = core.query(options, (error) => {
        if (error === null) ended.resolve();
        else ended.reject(error);
      });
      command.on("fields", (found) => (columns ??= found));
      const end = answerWithin(clock, answerTimeoutMs, ended.promise).catch(toldAway);
      end.then(() => row.resolve({ rows: [], changes: 0 }), row.reject);
      return { row: row.promise, end };
    },
    destroy: () => connection.destroy(),
  };
}

/** A flag of the protocol. */
const foundRows = 2;

/** What a connection agreed upon with its server; 0: not known. */
const flagsOf = (config: { readonly clientFlags?: number } = {}) => config.clientFlags ?? 0;

/** A block of statements answers with the rows of each that has some, and then with how it went. */
function firstOf([result, columns]: [unknown, unknown]): [unknown, unknown] {
  if (!Array.isArray(result) || result.length === 0 || Array.isArray(result.at(-1))) return [result, columns];
  return [result[0], (columns as unknown[])[0]];
}

type MysqlRow = readonly (Uint8Array | null)[];

const rowsOf = (rows: readonly MysqlRow[], types: readonly MysqlColumn[]) =>
  rows.map((row) => row.map((value, index) => (value === null ? null : decode(types[index], Buffer.from(value)))));

/** Every value as the server wrote it: what the driver would make of it depends on the options of the pool. */
const bytesOf = (field: MysqlField) => field.buffer();

/** Rows that were found, however many of them had the new value already, and whatever flags the driver has set. */
function matchedBy({ affectedRows, info }: MysqlHeader): number {
  const matched = /Rows matched: (\d+)/.exec(info ?? "")?.[1];
  return matched === undefined ? affectedRows : Number(matched);
}

/** The driver's codes for a connection that is gone are the system's, or its own. */
function toldAway(error: unknown): never {
  const { code, fatal } = error as { readonly code?: unknown; readonly fatal?: unknown };
  const isGone = fatal === true || code === "PROTOCOL_CONNECTION_LOST" || code === "POOL_CLOSED";
  const message = error instanceof Error ? error.message : String(error);
  // Of a pool that lets nobody, or only so many, wait for a connection; it has no codes for that.
  if (/^(No connections available|Queue limit reached)/.test(message)) {
    throw new DatabaseAway(`the pool has no connection to spare: ${message}`, { cause: error });
  }
  if (isAway(error) || (!isGone && !/closed state|Pool is closed/.test(message))) throw error;
  throw new DatabaseAway(`the connection is gone: ${message}`, { cause: error });
}

/** Texts of this many characters are sent at a time, which every server takes. */
const batchLength = 256 * 1024;

/**
 * Statements that differ in their parameters alone, in blocks of MariaDB that need a round trip each: the way there costs
 * more than a row does. Each block gives one text with a comma and the number of changed rows for each of them.
 */
export function* blocksOf(sql: string, lists: readonly (readonly unknown[])[]): Generator<SqlQuery, void, void> {
  let text = "";
  const block = () => `begin not atomic declare counts longtext default ''; ${text} select counts; end`;
  for (const params of lists) {
    text += `${withLiterals({ sql, params })}; set counts = concat(counts, ',', row_count()); `;
    if (text.length < batchLength) continue;
    yield { sql: block(), params: [] };
    text = "";
  }
  if (text !== "") yield { sql: block(), params: [] };
}

/** The statement with its values in it. */
export function withLiterals({ sql, params }: SqlQuery): string {
  const parts = sql.split(slot);
  if (parts.length !== params.length + 1) throw new TypeError("a statement must not have the character U+0000");
  return parts.map((part, index) => (index === 0 ? part : literal(params[index - 1]) + part)).join("");
}

/**
 * A value as SQL. Not a parameter of a prepared statement: those send integers as floating point or as text, which are
 * compared with a bigint as floating point.
 */
function literal(value: unknown): string {
  switch (typeof value) {
    case "undefined":
      return "null";
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      return String(value);
    case "number":
      if (Number.isSafeInteger(value)) return String(value);
      if (!Number.isFinite(value)) throw new TypeError(`MySQL has no number ${value}`);
      // With an exponent it is a double, without one a decimal.
      return /e/.test(String(value)) ? String(value) : `${value}e0`;
    case "string":
      return text(value);
    default:
      if (value === null) return "null";
      if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString("hex")}'`;
      if (value instanceof Date) return text(value.toISOString().replace("T", " ").replace("Z", ""));
      return text(JSON.stringify(value));
  }
}

/** Whether a backslash escapes depends on the server's mode, so one is never written. */
function text(value: string): string {
  if (/^[^'\\\0]*$/.test(value)) return `'${value}'`;
  return `_utf8mb4 x'${Buffer.from(value).toString("hex")}'`;
}

const binaryCharset = 63;
/** Numbers of types in the protocol. */
const integers = new Set([1, 2, 3, 8, 9, 13]);
const floats = new Set([4, 5]);
/** BIT and GEOMETRY. */
const bytes = new Set([16, 255]);
const strings = new Set([15, 249, 250, 251, 252, 253, 254]);

function decode(column: MysqlColumn | undefined, value: Buffer): SqlValue {
  const { columnType: type, characterSet } = column ?? { columnType: 0, characterSet: 0 };
  if (integers.has(type)) return BigInt(value.toString("latin1"));
  if (floats.has(type)) return Number(value.toString("latin1"));
  if (bytes.has(type) || (strings.has(type) && characterSet === binaryCharset)) return Uint8Array.from(value);
  return value.toString("utf8");
}
