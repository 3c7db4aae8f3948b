import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild({
  moreEntries: ["src/history-writer-worker.ts", "src/history-reader-worker.ts"],
  // Into the reader's file: drizzle's hundred modules cost every thread that loads them 100 MiB and half a second.
  tsup: { noExternal: ["drizzle-orm"] },
});
