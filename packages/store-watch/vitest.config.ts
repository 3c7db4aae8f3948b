import { packageTests } from "@tidemark/tooling/vitest";
import { mergeConfig } from "vitest/config";
import { bundledThreads } from "./test/support/threads.ts";

export default mergeConfig(packageTests({ globalSetup: ["test/support/servers.ts"] }), { plugins: [bundledThreads] });
