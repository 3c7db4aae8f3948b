// Loads Drizzle as the engine's thread does, and tells how often Node itself was asked for something.

import { createRequire, registerHooks } from "node:module";
import { parentPort } from "node:worker_threads";
import { loadDrizzleQuickly } from "../../src/drizzle-modules.ts";

const asked: string[] = [];
registerHooks({
  resolve(specifier, context, nextResolve) {
    asked.push(`${specifier} from ${context.parentURL ?? ""}`);
    return nextResolve(specifier, context);
  },
});
loadDrizzleQuickly();

const drizzle = await import("drizzle-orm");
const sqlite = await import("drizzle-orm/sqlite-core");
const direct = (await import(new URL("./table.js", import.meta.resolve("drizzle-orm")).href)) as typeof drizzle;
const required = createRequire(import.meta.url)("drizzle-orm") as typeof drizzle;

parentPort?.postMessage({
  relative: asked.filter((each) => /^\.\.?\/.* from .*\/drizzle-orm\//.test(each)),
  isOneInstance: direct.Table === drizzle.Table && drizzle.is(sqlite.sqliteTable("t", {}), drizzle.Table),
  isAnother: required.Table !== drizzle.Table && typeof required.sql === "function",
});
