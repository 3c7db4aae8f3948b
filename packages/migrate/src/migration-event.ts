import type { RunState } from "./run-state.ts";

/** What happens to migrations in this process. What the books keep for ever is `history()`. */
export type MigrationEvent =
  /** This process moved a run to another state. */
  | {
      readonly type: "state";
      readonly name: string;
      readonly from: RunState;
      readonly to: RunState;
      readonly reason?: string;
    }
  /** A chunk that had rows is committed, or an empty run was seen to be empty. */
  | {
      readonly type: "progress";
      readonly name: string;
      readonly rowsDone: number;
      readonly rowsChanged: number;
      readonly rowsQuarantined: number;
      /** Undefined: not known. */
      readonly total: number | undefined;
      /** How long the chunk held its locks. */
      readonly lockMs: number;
      /** Rows the next chunk visits. */
      readonly nextRows: number;
    }
  /** The last chunk did not go as it should, and what is done about it. */
  | {
      readonly type: "trouble";
      readonly name: string;
      /**
       * `retry`: somebody was in the way. `split`: it is tried with fewer rows. `panic`: it took far too long, so the next
       * is much smaller. `quarantine`: rows were set aside. `repair`: verification put rows right.
       * `fallback`: a quicker way is closed, and the message says why.
       */
      readonly kind: "retry" | "split" | "panic" | "quarantine" | "repair" | "fallback";
      readonly message: string;
    }
  /** Somebody else has the lease now, or an operator ended it. */
  | { readonly type: "lost"; readonly name: string }
  /** The database could not be asked. It will be asked again. */
  | { readonly type: "error"; readonly error: unknown }
  /** This reader was too slow, and so many events before this one are missing. */
  | { readonly type: "skipped"; readonly count: number };
