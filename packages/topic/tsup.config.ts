import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild({ moreEntries: ["src/compression/codec-worker.ts"] });
