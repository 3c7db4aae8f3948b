import { packageTests } from "@tidemark/tooling/vitest";

export default packageTests({ globalSetup: ["test/support/servers.ts"] });
