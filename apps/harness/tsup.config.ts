import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild({ moreEntries: ["src/role-main.ts"] });
