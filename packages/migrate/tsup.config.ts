import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild({ moreEntries: ["src/engine-worker.ts", "src/probe-worker.ts"] });
