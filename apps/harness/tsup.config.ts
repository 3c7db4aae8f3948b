import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild({
  moreEntries: [
    "src/role-main.ts",
    "src/process/shifted-clock.ts",
    "src/bench/migrations/split-definition.ts",
    "src/bench/migrations/aggregate-definition.ts",
    "src/bench/migrations/rows-definition.ts",
    "src/bench/migrations/long-definition.ts",
  ],
});
