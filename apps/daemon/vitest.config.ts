import { packageTests } from "@tidemark/tooling/vitest";

// Most of the time a test here waits for a process of its own. It is given far more than it takes: what is slow is the machine.
export default packageTests({ globalSetup: "test/bundled-cli.ts", testTimeout: 180_000, maxWorkers: 2 });
