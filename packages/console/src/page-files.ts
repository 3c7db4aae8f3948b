import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { buildPage, type PageFile } from "./page-build.ts";

declare const tidemarkIsBuilt: boolean | undefined;

/**
 * The files of the page. A built package has them beside itself; running from sources they are bundled on the spot,
 * which takes a moment and needs the package's development dependencies.
 */
export function pageFiles(): readonly PageFile[] {
  if (typeof tidemarkIsBuilt === "undefined") return buildPage(createRequire(import.meta.url)("esbuild"));
  const folder = new URL("./page/", import.meta.url);
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = entry.parentPath.replaceAll("\\", "/").endsWith("/assets") ? `assets/${entry.name}` : entry.name;
      return { path, body: readFileSync(new URL(path, folder)) };
    });
}
