import { testExamples } from "@tidemark/tooling/examples";

// The address of its database is a placeholder. What it shows runs in history/compliance.
testExamples({ notRun: ["postgres.ts"] });
