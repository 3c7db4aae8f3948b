import { test } from "vitest";
import { crashSuite } from "./support/crash-suite.ts";

crashSuite((name, run, timeoutMs) => test(name, run, timeoutMs), "sqlite", { kills: 5, stops: 3 });
