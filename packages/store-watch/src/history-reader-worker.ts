import { parentPort } from "node:worker_threads";
import type { ReaderMethods } from "./history/methods.ts";
import { readerHandlers } from "./history/reader-handlers.ts";
import { serveWorker } from "./worker/worker-server.ts";

// A thread with one connection that reads.

if (parentPort !== null) serveWorker<ReaderMethods>(parentPort, readerHandlers());
