import type { SqlConnection, SqlQuery } from "../connection.ts";
import { Database, type Dialect } from "../dialect.ts";
import { sqliteDialect } from "../sqlite/sqlite-dialect.ts";

/** Tells which tables a statement reads as a whole, without running it. */
export interface Planner {
  readonly dialect: Dialect;
  /** Tables that are read from one end to the other. Rejects where the statement cannot be planned. */
  scansOf(query: SqlQuery): Promise<readonly string[]>;
  /** Changes the schema that is planned against, where that is a copy; nothing elsewhere. */
  apply(statement: string): void;
  close(): Promise<void>;
}

/** As many rows as make a scan hurt, in every table. */
const syntheticRows = 10_000_000;

interface Scratch {
  exec(sql: string): void;
  all(sql: string, params: readonly unknown[]): readonly (readonly unknown[])[];
  close(): void;
}

/** A database in memory with the schema of a real one, and the statistics of one that is large. */
export async function sqlitePlanner(schema: readonly string[] = []): Promise<Planner> {
  const db = await openScratch();
  for (const statement of schema) {
    try {
      db.exec(statement);
    } catch {
      // What this SQLite does not know (a module, a function) is missing where it is asked for, and told there.
    }
  }
  let isCounted = false;
  const count = () => {
    if (isCounted) return;
    isCounted = true;
    db.exec("analyze; delete from sqlite_stat1");
    const indexes = db.all(
      `select s.name, l.name, l."unique", (select count(*) from pragma_index_info(l.name))
        from sqlite_schema s left join pragma_index_list(s.name) l
        where s.type = 'table' and s.name not like 'sqlite!_%' escape '!'`,
      [],
    );
    for (const [table, index, isUnique, parts] of indexes) {
      const name = (value: unknown) => `'${String(value).replaceAll("'", "''")}'`;
      // Each part of an index divides the rows; all parts of a unique one lead to a single row.
      const perPart = Array.from({ length: Number(parts ?? 0) }, (_, part) =>
        Number(isUnique) === 1 && part === Number(parts) - 1 ? 1 : Math.max(20 - part, 2),
      );
      const stat = index === null ? syntheticRows : [syntheticRows, ...perPart].join(" ");
      db.exec(`insert into sqlite_stat1 values (${name(table)}, ${index === null ? "null" : name(index)}, '${stat}')`);
    }
    db.exec("analyze sqlite_schema");
  };
  return {
    dialect: sqliteDialect,
    apply(statement) {
      isCounted = false;
      db.exec(statement);
    },
    async scansOf({ sql, params }) {
      count();
      const rows = db.all(`explain query plan ${sql}`, params);
      const tables = new Set(
        db.all("select name from sqlite_schema where type = 'table'", []).map(([name]) => String(name)),
      );
      return rows.flatMap((row) => {
        const detail = String(row.at(-1));
        const [, scanned] = /^SCAN (?:TABLE )?(\S+)/.exec(detail) ?? [];
        // A search without a condition walks until max() or min() is found; an automatic index is built anew each time.
        const [, walked] = /^SEARCH (?:TABLE )?(\S+)(?!.*\(.+[=<>])/.exec(detail) ?? [];
        const [, indexed] = /^SEARCH (?:TABLE )?(\S+) .*USING AUTOMATIC/.exec(detail) ?? [];
        const name = scanned ?? walked ?? indexed;
        // An alias hides the table; what is neither is a subquery or a list of values.
        if (name === undefined || name === "CONSTANT" || /^\(|^[\d-]+-ROW/.test(name)) return [];
        return tables.has(name) || !/^(sub|CTE|json_each|generate_series)/i.test(name) ? [name] : [];
      });
    },
    close: async () => db.close(),
  };
}

async function openScratch(): Promise<Scratch> {
  const loaded = await import("better-sqlite3").catch(() => undefined);
  if (loaded !== undefined) {
    const db = new loaded.default(":memory:");
    return {
      exec: (sql) => void db.exec(sql),
      all: (sql, params) =>
        db
          .prepare(sql)
          .raw()
          .all(...params) as unknown[][],
      close: () => void db.close(),
    };
  }
  const builtin = process.getBuiltinModule("node:sqlite");
  const db = new builtin.DatabaseSync(":memory:");
  return {
    exec: (sql) => db.exec(sql),
    all(sql, params) {
      const statement = db.prepare(sql);
      statement.setReturnArrays(true);
      return statement.all(...(params as never[])) as unknown as unknown[][];
    },
    close: () => db.close(),
  };
}

/** The schema of a SQLite database as statements, tables first. */
export async function schemaOf({ connection }: Database): Promise<string[]> {
  const text = `select sql from sqlite_schema where sql is not null and name not like 'sqlite!_%' escape '!'
    order by case type when 'table' then 0 when 'view' then 1 when 'index' then 2 else 3 end`;
  return (await connection.execute({ sql: text, params: [] })).rows.map(([sql]) => String(sql));
}

/** Asks a server that has the tables, however many rows are in them. */
export function serverPlanner({ dialect, connection }: Database): Planner {
  return {
    dialect,
    scansOf: (query) =>
      dialect.name === "postgresql" ? postgresScans(connection, query) : mysqlScans(connection, query),
    apply() {},
    close: () => connection.close(),
  };
}

interface PlanNode {
  readonly "Node Type"?: string;
  readonly "Relation Name"?: string;
  readonly "Index Cond"?: string;
  readonly Plans?: readonly PlanNode[];
}

/** Where no index can do it, PostgreSQL scans although it is told to avoid that, at whatever price. */
async function postgresScans(connection: SqlConnection, { sql, params }: SqlQuery): Promise<string[]> {
  return connection.transaction("read", async (executor) => {
    await executor.execute({ sql: "set local enable_seqscan = off", params: [] });
    const { rows } = await executor.execute({ sql: `explain (format json) ${sql}`, params });
    const answer: unknown = rows[0]?.[0];
    const [{ Plan }] = (typeof answer === "string" ? JSON.parse(answer) : answer) as [{ readonly Plan: PlanNode }];
    const scans = new Set<string>();
    const visit = (node: PlanNode) => {
      const { "Node Type": type = "", "Relation Name": relation = "?", "Index Cond": condition, Plans = [] } = node;
      if (type === "Seq Scan" || (/^Index (Only )?Scan$/.test(type) && condition === undefined)) scans.add(relation);
      for (const child of Plans) visit(child);
    };
    visit(Plan);
    return [...scans];
  });
}

/** An access of all rows or of a whole index for which there was no index to choose; how many rows there are decides nothing. */
async function mysqlScans(connection: SqlConnection, { sql, params }: SqlQuery): Promise<string[]> {
  const { rows } = await connection.execute({ sql: `explain ${sql}`, params });
  return rows.flatMap((row) => {
    // MySQL has a column more than MariaDB, for partitions.
    const [table, type, possible] = row.length > 10 ? [row[2], row[4], row[5]] : [row[2], row[3], row[4]];
    const isScan = (type === "ALL" || type === "index") && possible === null;
    return isScan && !String(table).startsWith("<") ? [String(table)] : [];
  });
}
