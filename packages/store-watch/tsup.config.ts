import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild({ moreEntries: ["src/history-writer-worker.ts", "src/history-reader-worker.ts"] });
