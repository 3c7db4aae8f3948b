import { dirname, resolve } from "node:path";
import type { Clock } from "@tidemark/clock";
import type { SqlConnection } from "../connection.ts";
import type { Database } from "../dialect.ts";
import { type OwnSignal, type Reading, type SignalRun, walReading } from "../signals.ts";
import type { SqliteFile } from "../sqlite/open-sqlite.ts";
import { diskReading, EventLoopMeter, eventLoopReading, probeReading } from "./local-signals.ts";
import { MysqlSignals } from "./mysql-signals.ts";
import { PostgresSignals } from "./postgres-signals.ts";
import type { ResolvedSignals, SignalRequest } from "./signal-request.ts";
import { SqliteProbe } from "./sqlite-probe.ts";

/** Signals that can be read, until they are closed. */
export interface OpenSignals {
  readonly signals: readonly OwnSignal[];
  close(): Promise<void>;
}

type Read = (run: SignalRun, limit: number, request: SignalRequest) => Promise<Reading>;

/** Gets ready to read what was asked for; nothing is read and no thread started before a run needs it. */
export function openSignals(
  { requests, custom, limits }: ResolvedSignals,
  database: Database,
  clock: Clock,
  file?: SqliteFile,
): OpenSignals {
  const meter = new EventLoopMeter();
  const probe = file === undefined ? undefined : new SqliteProbe(file);
  const readers: Readonly<Record<string, Read>> = {
    "event-loop": async (_, limit) => eventLoopReading(meter.read(), limit),
    "disk-free": (_, limit, { path }) => diskReading(path ?? dirname(resolve(file?.file ?? ".")), limit),
    wal: (_, limit) => walReading(database, limit),
    ...(probe !== undefined && probesOf(probe)),
    ...(database.beside !== undefined && readersOf(database, database.beside, clock)),
  };
  const own = requests.map((request): OwnSignal => {
    const { name } = request;
    const read = readers[name];
    if (read === undefined) throw new Error(`nobody reads "${name}"`);
    return { name, read: (run) => read(run, limits.get(name) ?? Number.NaN, request) };
  });
  return {
    signals: [...own, ...custom],
    async close() {
      meter.close();
      await probe?.close();
      await database.beside?.connection.close();
    },
  };
}

function probesOf(probe: SqliteProbe): Readonly<Record<"reader" | "writer", Read>> {
  return {
    reader: async (_, limit) => probeReading("reader", await probe.ask("reader"), limit),
    writer: async (_, limit) => probeReading("writer", await probe.ask("writer"), limit),
  };
}

function readersOf(
  database: Database,
  { connection: side, label = "", sessions = () => [] }: NonNullable<Database["beside"]>,
  clock: Clock,
): Readonly<Record<string, Read>> {
  const monotonic = () => clock.monotonic();
  const timed = async (work: () => Promise<unknown>) => {
    const startMs = monotonic();
    await work();
    return monotonic() - startMs;
  };
  const ask = (text: string) => side.execute({ sql: text, params: [] });
  const reader: Read = async (_, limit) =>
    probeReading("reader", await timed(() => ask("select name from tidemark_migrations limit 1")), limit);
  if (database.dialect.name === "postgresql") {
    const server = new PostgresSignals(database, side, monotonic);
    // Waits for the disk as a commit does, and for a synchronous replica, without a table.
    const write = () => ask("select pg_logical_emit_message(true, 'tidemark', '')");
    return {
      reader,
      writer: async (_, limit) => probeReading("writer", await timed(write), limit),
      "wal-rate": (_, limit) => server.walRate(limit),
      vacuum: (run, limit, request) => server.vacuum(limit, run, request),
      "replica-lag": (_, limit, request) => server.replicaLag(limit, request),
      blocked: (_, limit) => server.blocked(limit, label),
    };
  }
  const server = new MysqlSignals(database, side);
  const table = mysqlProbeTable(side);
  return {
    reader,
    async writer(_, limit) {
      await table();
      const text = "insert into tidemark_migration_probe values (1, 1) on duplicate key update n = n + 1";
      return probeReading("writer", await timed(() => ask(text)), limit);
    },
    "replica-lag": (_, limit, { replicas = [] }) => server.replicaLag(limit, replicas),
    blocked: (_, limit) => server.blocked(limit, sessions()),
  };
}

/** MySQL has nothing to write to but a table. */
function mysqlProbeTable(side: SqlConnection): () => Promise<void> {
  let isMade = false;
  return async () => {
    if (isMade) return;
    const text =
      "create table if not exists tidemark_migration_probe (id int primary key, n bigint not null) engine = InnoDB";
    await side.execute({ sql: text, params: [] });
    isMade = true;
  };
}
