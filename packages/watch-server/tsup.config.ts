import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild({ moreEntries: ["src/database/store-worker.ts"] });
