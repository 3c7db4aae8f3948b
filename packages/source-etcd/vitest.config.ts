import { packageTests } from "@tidemark/tooling/vitest";

// Most tests wait for a real etcd, not for a core.
export default packageTests({ isolate: false, maxWorkers: 3 });
