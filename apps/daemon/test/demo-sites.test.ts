import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { main } from "./support.ts";

const seconds = process.env["TIDEMARK_LONG"] === "1" ? 120 : 10;

serviceTest("etcd")(
  "two etcds that are edited on both sides are equal after kills and cuts, with every edit in both histories",
  async () => {
    const demo = fileURLToPath(new URL("../demo/sites.ts", import.meta.url));
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [
        "--conditions=@tidemark/source",
        "--disable-warning=ExperimentalWarning",
        demo,
        "--tidemark",
        main,
        "--seconds",
        String(seconds),
      ],
      { maxBuffer: 16 << 20 },
    ).catch((error: { readonly stdout?: string; readonly stderr?: string }) => {
      throw new Error(`${error.stdout}\n${error.stderr}`, { cause: error });
    });
    expect(stdout).toMatch(/both are equal, and every edit is in both histories/);
    if (seconds > 10) console.log(stdout);
  },
  400_000,
);
