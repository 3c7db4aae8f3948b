import { packageTests } from "@tidemark/tooling/vitest";

// Most of the time a test here waits for a process of its own.
export default packageTests({ testTimeout: 90_000, maxWorkers: 2 });
