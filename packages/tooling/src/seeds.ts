// What `import "fast-check"` means in tests: fast-check with the seed of the run.

import fc from "fast-check";
import { testSeed } from "./seed.ts";

fc.configureGlobal({ seed: testSeed });

export * from "fast-check";
export { default } from "fast-check";
