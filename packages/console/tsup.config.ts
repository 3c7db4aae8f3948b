import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { packageBuild } from "@tidemark/tooling/tsup";
import * as esbuild from "esbuild";
import { buildPage } from "./src/page-build.ts";

export default packageBuild({
  tsup: {
    define: { tidemarkIsBuilt: "true" },
    onSuccess: async () => {
      for (const { path, body } of buildPage(esbuild)) {
        const file = join("dist/page", path);
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, body);
      }
    },
  },
});
