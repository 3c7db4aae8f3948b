import { testExamples } from "@tidemark/tooling/examples";

testExamples();
