import { closeSync, openSync, readSync } from "node:fs";
import { seededRng } from "@tidemark/clock";
import Database from "better-sqlite3";

interface PeerJob {
  readonly file: string;
  /** `adder`: writes to a table of its own. */
  readonly kind: "reader" | "writer" | "adder";
  readonly everyMs: number;
  readonly parents: number;
}

/** How long each operation took from the moment it was due, whatever those before it took. */
export interface PeerTimes {
  readonly latenciesMs: Float64Array;
  /** How long this process could have run during each and had no processor; undefined where that is not known. */
  readonly queuedMs?: Float64Array;
  /** How often the database refused an operation, which then had to be done again. */
  readonly refused: number;
}

export type MigrationsPeerRole = {
  open(job: PeerJob): void;
  start(): void;
  stop(): Promise<PeerTimes>;
};

/** Somebody else who uses the database while it is migrated: at a constant rate, in a process of its own. */
export function createMigrationsPeerRole(): MigrationsPeerRole {
  let operate: () => void = () => {};
  let everyMs = 10;
  let isStopped = false;
  let running: Promise<Omit<PeerTimes, "refused">> | undefined;
  return {
    open(job) {
      operate = { reader, writer, adder }[job.kind](job);
      everyMs = job.everyMs;
      for (let warm = 0; warm < 20; warm++) operate();
    },
    start() {
      isStopped = false;
      running = loop(operate, everyMs, () => isStopped);
    },
    async stop() {
      isStopped = true;
      if (running === undefined) throw new Error("start first");
      return { ...(await running), refused: 0 };
    },
  };
}

const alarm = new Int32Array(new SharedArrayBuffer(4));

async function loop(operate: () => void, everyMs: number, isStopped: () => boolean) {
  const latencies: number[] = [];
  const queued: number[] = [];
  using queue = openRunQueue();
  const startMs = performance.now();
  for (let index = 1; ; index++) {
    const dueMs = startMs + index * everyMs;
    const waitMs = dueMs - performance.now();
    const queuedMs = queue.readMs();
    // This thread has nothing else to do, and a timer would be up to a millisecond late.
    if (waitMs > 0) Atomics.wait(alarm, 0, 0, waitMs);
    operate();
    latencies.push(performance.now() - dueMs);
    queued.push(queue.readMs() - queuedMs);
    if (index % 8 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (isStopped()) return { latenciesMs: Float64Array.from(latencies), queuedMs: Float64Array.from(queued) };
  }
}

/** How long this thread has been ready to run without a processor so far. */
function openRunQueue(): Disposable & { readMs(): number } {
  const bytes = Buffer.alloc(128);
  let file: number | undefined;
  try {
    file = openSync("/proc/thread-self/schedstat", "r");
  } catch {
    // Not Linux.
  }
  return {
    readMs() {
      if (file === undefined) return 0;
      const length = readSync(file, bytes, 0, bytes.length, 0);
      // Nanoseconds on a processor, nanoseconds in the queue for one, and how often.
      return Number(bytes.toString("latin1", 0, length).split(" ")[1]) / 1e6;
    },
    [Symbol.dispose]() {
      if (file !== undefined) closeSync(file);
    },
  };
}

function reader({ file, parents }: PeerJob): () => void {
  const db = new Database(file, { readonly: true });
  db.pragma("busy_timeout = 60000");
  const parent = db.prepare("select id, hash, last_seen from transmissions where id = ?");
  const children = db.prepare("select id, timestamp from observations where transmission_id = ? limit 20");
  const rng = seededRng(1);
  return () => {
    const id = rng.int(1, parents + 1);
    parent.get(id);
    children.all(id);
  };
}

function writer({ file, parents }: PeerJob): () => void {
  const db = new Database(file);
  db.pragma("synchronous = normal");
  db.pragma("busy_timeout = 60000");
  const insert = db.prepare("insert into observations (transmission_id, timestamp) values (?, ?)");
  const update = db.prepare("update transmissions set last_seen = ? where id = ? and last_seen < ?");
  const rng = seededRng(2);
  let at = 1_800_000_000;
  // The application's new version: it keeps the column by itself.
  const write = db.transaction((id: number) => {
    at++;
    insert.run(id, at);
    update.run(at, id, at);
  }).immediate;
  return () => write(rng.int(1, parents + 1));
}

function adder({ file }: PeerJob): () => void {
  const db = new Database(file);
  db.pragma("synchronous = normal");
  db.pragma("busy_timeout = 60000");
  const insert = db.prepare("insert into events (at) values (?)");
  return () => insert.run(performance.now());
}
