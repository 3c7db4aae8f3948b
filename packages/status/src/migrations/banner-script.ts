import { readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";

let script: string | undefined;

/** The banner as a module for browsers. Read once a process, when somebody asks for it. */
export function bannerScript(): string {
  if (script !== undefined) return script;
  // In dist the bundler has put this beside the built module; in sources it is one folder up and TypeScript.
  const isSource = import.meta.url.endsWith(".ts");
  const file = new URL(isSource ? "../warmup-banner.ts" : "./warmup-banner.js", import.meta.url);
  const text = readFileSync(file, "utf8");
  script = isSource ? stripTypeScriptTypes(text) : text;
  return script;
}
