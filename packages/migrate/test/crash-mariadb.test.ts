import { serviceTest } from "@tidemark/tooling/services";
import { crashSuite } from "./support/crash-suite.ts";

crashSuite(serviceTest("mariadb"), "mariadb", { kills: 3, stops: 2 });
