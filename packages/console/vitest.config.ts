import { packageTests } from "@tidemark/tooling/vitest";

export default packageTests({ isolate: false });
