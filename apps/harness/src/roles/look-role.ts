import Database from "better-sqlite3";
import { monotonicMs } from "../process/monotonic.ts";

interface LookOptions {
  readonly file: string;
  /** How many numbered values will come. */
  readonly count: number;
  /** How often to look, in milliseconds. */
  readonly everyMs: number;
}

interface Looked {
  /** When each number was first seen; 0: never. */
  readonly seenMs: Float64Array;
  readonly looks: number;
}

export type LookRole = {
  /** Starts to look. */
  start(options: LookOptions): Promise<void>;
  /** Resolves when every number was seen. */
  done(): Promise<Looked>;
};

/** A stranger with a SQLite library of his own: one read-only connection that looks at the view again and again. */
export function createLookRole(): LookRole {
  let done: Promise<Looked> | undefined;
  return {
    async start(options) {
      done = look(options);
      done.catch(() => {});
    },
    done() {
      if (done === undefined) throw new Error("call start first");
      return done;
    },
  };
}

async function look({ file, count, everyMs }: LookOptions): Promise<Looked> {
  const database = new Database(file, { readonly: true });
  try {
    const seenMs = new Float64Array(count);
    const last = database.prepare("select coalesce(max(position), 0) from history").pluck();
    const after = database.prepare("select position, value from history where position > ? order by position").raw();
    let position = last.get() as number;
    let missing = count;
    let looks = 0;
    for (; missing > 0; looks++) {
      await new Promise((resolve) => setTimeout(resolve, everyMs));
      const rows = after.all(position) as [number, Buffer][];
      if (rows.length === 0) continue;
      const nowMs = monotonicMs();
      for (const [at, value] of rows) {
        position = at;
        const index = Number(value.toString("latin1", 0, 9));
        if (seenMs[index] !== 0) continue;
        seenMs[index] = nowMs;
        missing--;
      }
    }
    return { seenMs, looks };
  } finally {
    database.close();
  }
}
