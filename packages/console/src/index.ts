export { type ConsoleAsset, consoleAssets } from "./assets.ts";
export { contentSecurityPolicy, createConsoleHandler } from "./handler.ts";
