import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild({
  moreEntries: [
    "src/role-main.ts",
    "src/bench/migrations/split-definition.ts",
    "src/bench/migrations/aggregate-definition.ts",
  ],
});
