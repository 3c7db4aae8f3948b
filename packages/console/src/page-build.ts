import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import type * as esbuild from "esbuild";

/** A file of the page: where it is served, relative to the page itself, and what it is. */
export interface PageFile {
  readonly path: string;
  readonly body: Uint8Array;
}

const source = (name: string) => fileURLToPath(new URL(`./page/${name}`, import.meta.url));

/** Bundles the page from its sources: one document, one script, one style sheet, one icon. */
export function buildPage({ buildSync }: Pick<typeof esbuild, "buildSync">): readonly PageFile[] {
  const { outputFiles } = buildSync({
    entryPoints: { page: source("main.tsx"), style: source("style.css") },
    outdir: "assets",
    entryNames: "[name]-[hash]",
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "browser",
    // What light-dark() needs, which is the newest thing the page uses.
    target: ["chrome123", "firefox120", "safari17.5"],
    jsx: "automatic",
    jsxImportSource: "preact",
    conditions: ["@tidemark/source"],
    alias: { "node:diagnostics_channel": source("no-diagnostics.ts") },
    legalComments: "none",
  });
  const assets = outputFiles.map(({ path, contents }) => ({ path: `assets/${basename(path)}`, body: contents }));
  const named = (extension: string) => assets.find(({ path }) => path.endsWith(extension))?.path ?? "";
  const html = readFileSync(source("index.html"), "utf8")
    .replace("%SCRIPT%", named(".js"))
    .replace("%STYLE%", named(".css"));
  return [
    { path: "index.html", body: Buffer.from(html) },
    { path: "icon.svg", body: readFileSync(source("icon.svg")) },
    ...assets,
  ];
}
