// Loaded before the harness (`--import`): puts the bug that TIDEMARK_MUTANT names into the code while that is loaded, so
// that the code itself has no switches. It only works from sources.

import { registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { mutants } from "./catalogue.ts";
import { repository, withMutant } from "./patch.ts";

const name = process.env["TIDEMARK_MUTANT"];
const mutant = mutants.find((each) => each.name === name);
if (mutant === undefined) throw new Error(`TIDEMARK_MUTANT must name a mutant, got "${name}"`);
const url = pathToFileURL(join(repository, mutant.file)).href;
let isLoaded = false;

registerHooks({
  load(file, context, nextLoad) {
    const loaded = nextLoad(file, context);
    if (file !== url) return loaded;
    isLoaded = true;
    const { source } = loaded;
    const text = typeof source === "string" ? source : Buffer.from(source as Uint8Array).toString();
    return { ...loaded, source: withMutant(mutant, text) };
  },
});

process.on("exit", () => {
  if (isLoaded) return;
  process.stderr.write(`the mutant ${mutant.name} was never loaded: nothing imports ${mutant.file}\n`);
  process.exitCode = 3;
});
