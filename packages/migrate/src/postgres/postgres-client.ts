import type { Clock } from "@tidemark/clock";
import { answerWithin, DatabaseAway, isAway } from "../away.ts";
import type { SqlExecutor, SqlQuery, SqlResult, SqlValue } from "../connection.ts";
import { batchesOf, bytesOf, toText } from "./postgres-literals.ts";

/** What is used of a `Pool` of `pg`. */
export interface PgPool {
  connect(): Promise<PgPoolClient>;
  readonly totalCount: number;
}

interface PgPoolClient {
  query(config: PgQuery): Promise<PgResult | PgResult[]>;
  on(event: "error", listener: (error: Error) => void): unknown;
  off(event: "error", listener: (error: Error) => void): unknown;
  release(error?: Error | boolean): void;
}

interface PgQuery {
  readonly text: string;
  readonly values: string[];
  readonly rowMode: "array";
  readonly types: { getTypeParser(): (value: string) => unknown };
}

interface PgResult {
  readonly command: string;
  readonly rowCount: number | null;
  readonly rows: unknown[];
  readonly fields: readonly { readonly dataTypeID: number }[];
}

/** What is used of the `sql` of `postgres`. */
export interface PostgresJs extends PostgresJsRunner {
  begin(work: never): Promise<unknown>;
}

interface PostgresJsRunner {
  unsafe(text: string, params?: never[], options?: { prepare: boolean }): { raw(): PromiseLike<unknown> };
  typed: unknown;
}

interface PostgresJsRoot {
  begin(options: string, work: (sql: unknown) => Promise<void>): Promise<unknown>;
}

interface PostgresJsRunnerInside {
  unsafe(
    text: string,
    params?: unknown[],
    options?: { prepare: boolean },
  ): { raw(): PromiseLike<PostgresJsResult | PostgresJsResult[]> };
  typed(value: string, type: number): unknown;
}

type PostgresJsResult = readonly (readonly (Uint8Array | null)[])[] & {
  readonly count: number | null;
  readonly command: string;
  readonly columns: readonly { readonly type: number }[] | undefined;
};

/** A driver of PostgreSQL. Values go and come as the server's own text, so that no driver's idea of a type matters. */
export type PostgresClient = PgPool | PostgresJs;

/** One statement on the server. */
type PostgresExecute = (query: SqlQuery) => Promise<SqlResult>;

/** A driver, as the connection uses it. */
export interface PostgresPort {
  execute: PostgresExecute;
  /**
   * `begin` is what follows that word; `beginning` are statements without parameters that come along with it, the answer
   * to the last of which `work` gets.
   */
  transaction<T>(
    begin: string,
    beginning: string,
    work: (executor: SqlExecutor, begun: SqlResult) => Promise<T>,
  ): Promise<T>;
  /**
   * Transactions as one text, none of whose statements has parameters; resolves with the answers of those that give rows.
   * When one fails, it is rolled back. Undefined where the driver has no way to do that, or the server is in this process and
   * everybody here would wait for all of them; known when the first connection is open.
   */
  readonly series?: ((text: string) => Promise<readonly SqlResult[]>) | undefined;
}

/** The parameter has no type of its own, and takes that of what it is compared with or assigned to. */
const unknownType = 705;

export function isPgPool(client: unknown): client is PgPool {
  return isObject(client) && typeof client["connect"] === "function" && typeof client["totalCount"] === "number";
}

export function isPostgresJs(client: unknown): client is PostgresJs {
  return isObject(client) && typeof client["unsafe"] === "function" && typeof client["begin"] === "function";
}

/** A pool of `pg`: a connection for each transaction, thrown away when it fails in the middle of one. */
export function pgPort(pool: PgPool, clock: Clock, answerTimeoutMs: number): PostgresPort {
  const within = <T>(answer: PromiseLike<T>) => answerWithin(clock, answerTimeoutMs, answer);
  // A client of `pg` has one; what stands for a client in front of PGlite does not.
  let isRemote = false;
  const query = async (client: PgPoolClient, text: string, params: readonly unknown[]): Promise<PgResult[]> => {
    const config = { text, values: params.map(toText) as string[], rowMode: "array", types: asText } as const;
    const results = await within(client.query(config)).catch(toldAway);
    return Array.isArray(results) ? results : [results];
  };
  const on = (client: PgPoolClient): Required<Pick<SqlExecutor, "execute" | "executeEach">> => ({
    async execute({ sql, params }) {
      // Of several statements at once the last one counts.
      return ofPg((await query(client, sql, params)).at(-1) as PgResult);
    },
    async executeEach(sql, lists) {
      const changes: number[] = [];
      for (const batch of batchesOf(sql, lists)) {
        for (const { rowCount } of await query(client, batch.sql, batch.params)) changes.push(rowCount ?? 0);
      }
      return changes;
    },
  });
  const using = async <T>(work: (client: PgPoolClient) => Promise<T>): Promise<T> => {
    const client = await connected(pool, clock, answerTimeoutMs);
    isRemote ||= "connection" in client;
    // Without a listener, a connection that is lost between two statements ends the process.
    let lost: Error | undefined;
    const onError = (error: Error) => (lost = error);
    client.on("error", onError);
    try {
      return await work(client);
    } catch (error) {
      if (isAway(error)) lost ??= error as Error;
      throw error;
    } finally {
      client.off("error", onError);
      client.release(lost);
    }
  };
  const rolledBack = async <T>(client: PgPoolClient, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      // What cannot be rolled back is closed, which comes to the same.
      await query(client, "rollback", []).catch((failed: unknown) => {
        throw isAway(error) ? error : new DatabaseAway("the transaction cannot be rolled back", { cause: failed });
      });
      throw error;
    }
  };
  const series = (text: string) =>
    using((client) =>
      rolledBack(client, async () => {
        const results = await query(client, text, []);
        return results.filter(({ fields }) => fields.length > 0).map(ofPg);
      }),
    );
  return {
    execute: (statement) => using((client) => on(client).execute(statement)),
    transaction: (begin, beginning, work) =>
      using((client) =>
        rolledBack(client, async () => {
          const executor = on(client);
          const begun = await executor.execute({ sql: `begin ${begin}; ${beginning}`, params: [] });
          const result = await work(executor, begun);
          await executor.execute({ sql: "commit", params: [] });
          return result;
        }),
      ),
    get series() {
      return isRemote ? series : undefined;
    },
  };
}

function ofPg({ rows, rowCount, fields, command }: PgResult): SqlResult {
  const types = fields.map(({ dataTypeID }) => dataTypeID);
  return toResult(rows as (string | null)[][], types, command, rowCount);
}

async function connected(pool: PgPool, clock: Clock, answerTimeoutMs: number): Promise<PgPoolClient> {
  const pending = pool.connect();
  try {
    return await answerWithin(clock, answerTimeoutMs, pending).catch(toldAway);
  } catch (error) {
    // It may come when nobody waits for it any more.
    pending.then(
      (client) => client.release(),
      () => undefined,
    );
    throw error;
  }
}

/**
 * The `sql` of `postgres`. A connection that is lost in a transaction ends it at once: it would be opened anew. Nothing is
 * rolled back then, as the driver would write that to a socket that is no more, where nobody can catch what it throws.
 */
export function postgresJsPort(sql: PostgresJs, clock: Clock, answerTimeoutMs: number): PostgresPort {
  const within = <T>(answer: PromiseLike<T>) => answerWithin(clock, answerTimeoutMs, answer).catch(toldAway);
  const query = async (runner: PostgresJsRunnerInside, text: string, params: readonly unknown[]) => {
    const values = params.map(toText).map((each) => (each === null ? null : runner.typed(each, unknownType)));
    const pending = values.length === 0 ? runner.unsafe(text) : runner.unsafe(text, values, { prepare: true });
    const results = await within(pending.raw());
    // Rows are arrays, as are several answers; only an answer has a command. Of several statements at once those that
    // give no rows have no answer of their own.
    return "command" in results ? results : (results.at(-1) as PostgresJsResult);
  };
  const on = (runner: PostgresJsRunnerInside): SqlExecutor => ({
    async execute({ sql: text, params }) {
      const result = await query(runner, text, params);
      const types = (result.columns ?? []).map(({ type }) => type);
      const rows = result.map((row) => row.map((value) => (value === null ? null : textOf(value))));
      return toResult(rows, types, result.command, result.count);
    },
  });
  const root = sql as unknown as PostgresJsRunnerInside;
  return {
    execute: (statement) => on(root).execute(statement),
    async transaction<T>(
      begin: string,
      beginning: string,
      work: (executor: SqlExecutor, begun: SqlResult) => Promise<T>,
    ): Promise<T> {
      let ended: unknown;
      let outcome: { readonly result: T } | undefined;
      // It waits for a connection, a rollback and a commit as long as they take.
      const givenUp = Promise.withResolvers<never>();
      const giveUpLater = () =>
        clock.setTimer(answerTimeoutMs, () => {
          givenUp.reject(new DatabaseAway(`the database gave no answer in ${answerTimeoutMs} ms`));
        });
      let patience = giveUpLater();
      const both = (sql as unknown as PostgresJsRoot).begin(begin, async (runner: unknown) => {
        const run = on(runner as PostgresJsRunnerInside);
        let isLost = false;
        const guarded = async <R>(ask: () => Promise<R>): Promise<R> => {
          if (ended !== undefined) throw new DatabaseAway("the transaction is over", { cause: ended });
          try {
            return await ask();
          } catch (error) {
            // A late answer is no loss: behind it the rollback goes out.
            isLost ||= isAway(error) && !(error instanceof DatabaseAway && error.cause === undefined);
            throw error;
          }
        };
        const inside: SqlExecutor = {
          execute: (statement) => guarded(() => run.execute(statement)),
          // The driver sends one behind the other and waits for all of them at once.
          executeEach: (text, lists) =>
            guarded(async () => {
              const results = await Promise.all(lists.map((params) => run.execute({ sql: text, params })));
              return results.map(({ changes }) => changes);
            }),
        };
        patience.cancel();
        try {
          const begun = await inside.execute({ sql: beginning, params: [] });
          outcome = { result: await work(inside, begun) };
        } catch (error) {
          if (isLost || ended !== undefined) {
            patience = giveUpLater();
            await new Promise<never>(() => {});
          }
          throw error;
        } finally {
          patience = giveUpLater();
        }
      });
      try {
        await Promise.race([both, givenUp.promise]);
      } catch (error) {
        ended = error;
        outcome = undefined;
        toldAway(error);
      } finally {
        patience.cancel();
      }
      if (outcome === undefined) throw new DatabaseAway("the transaction ended before its work");
      return outcome.result;
    },
  };
}

const decoder = new TextDecoder();
const textOf = (bytes: Uint8Array) => decoder.decode(bytes);

const asText = { getTypeParser: () => (value: string) => value };

/** Drivers say in many ways, most without a code, that the connection is gone. What the server said has its SQLSTATE. */
function toldAway(error: unknown): never {
  const { code, severity } = error as { readonly code?: unknown; readonly severity?: unknown };
  if (typeof severity === "string" || (typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) && !isAway(error))) {
    throw error;
  }
  if (isAway(error)) throw error;
  if (isDriverAway(error)) {
    throw new DatabaseAway(`the connection is gone: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  throw error;
}

function isDriverAway(error: unknown): boolean {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  if (typeof code === "string") return code.startsWith("CONNECT");
  // `pg` has no codes for these. The last one is of its `query_timeout`: the statement goes on, and keeps the connection.
  return (
    typeof message === "string" &&
    /terminated|not queryable|timeout exceeded when trying to connect|^Query read timeout$/.test(message)
  );
}

function toResult(
  rows: readonly (readonly (string | null)[])[],
  types: readonly number[],
  command: string | null | undefined,
  count: number | null | undefined,
): SqlResult {
  const decoded = rows.map((row) => row.map((value, index) => (value === null ? null : decode(types[index], value))));
  const isWrite = command === "INSERT" || command === "UPDATE" || command === "DELETE" || command === "MERGE";
  return { rows: decoded, changes: isWrite ? (count ?? 0) : 0 };
}

/** From the server's text; by the number of the type in `pg_type`, which is the same everywhere. */
function decode(type: number | undefined, text: string): SqlValue {
  switch (type) {
    case 16:
      return text === "t";
    case 17:
      return Uint8Array.from(bytesOf(text));
    case 20:
    case 21:
    case 23:
    case 26:
      return BigInt(text);
    case 700:
    case 701:
      return Number(text);
    default:
      return text;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
