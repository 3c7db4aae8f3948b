import { packageBuild } from "@tidemark/tooling/tsup";

export default packageBuild();
