import { readFileSync } from "node:fs";

// Both src/ and dist/ lie beside package.json.
const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  readonly version: string;
};

/** The version of this package. */
export const version: string = manifest.version;
