import type { History, Watcher } from "@tidemark/store-watch";
import type { FaultyHistory } from "@tidemark/store-watch/testing";
import type { Site } from "@tidemark/sync";
import type { ProcessNetwork } from "./topic-network.ts";

/** One life of a process: it ends at once, wherever it stands. */
export interface Life {
  isOver: boolean;
  readonly history: History;
  readonly network: ProcessNetwork;
  faulty?: FaultyHistory;
  watcher?: Watcher;
  site?: Site;
}

/** Fails before or after it happened, and may be tried again. */
export class Busy extends Error {
  readonly retryable = true;
}
