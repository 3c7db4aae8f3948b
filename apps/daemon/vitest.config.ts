import { packageTests } from "@tidemark/tooling/vitest";

export default packageTests({ testTimeout: 90_000 });
