import { parentPort } from "node:worker_threads";
import type { WriterMethods } from "./history/methods.ts";
import { writerHandlers } from "./history/writer-handlers.ts";
import { serveWorker } from "./worker/worker-server.ts";

// The thread of the only connection that writes.

if (parentPort !== null) serveWorker<WriterMethods>(parentPort, writerHandlers());
