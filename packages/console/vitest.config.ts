import { packageTests } from "@tidemark/tooling/vitest";

// A browser may take most of a minute to start, and then each wait has its own limit. What is slow is the machine.
export default packageTests({ isolate: false, testTimeout: 180_000 });
