// What sibling packages share and users must not rely on.
export { type ErrorRecord, fromErrorRecord, toErrorRecord } from "./worker/error-record.ts";
export { WorkerClient, type WorkerClientOptions, workerFile } from "./worker/worker-client.ts";
export { serveWorker, transferring, type WorkerHandlers, type WorkerMethods } from "./worker/worker-server.ts";
