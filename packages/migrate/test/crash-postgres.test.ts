import { serviceTest } from "@tidemark/tooling/services";
import { crashSuite } from "./support/crash-suite.ts";

crashSuite(serviceTest("postgres"), "pg", { kills: 3, stops: 2 });
