import { fileURLToPath } from "node:url";

/** Where `worker-process.ts` is bundled to: beside what it imports, and out of git. */
export const workerBundle = fileURLToPath(new URL("../../node_modules/.tidemark/worker-process.mjs", import.meta.url));
