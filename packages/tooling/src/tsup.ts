import { readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Options } from "tsup";

interface Manifest {
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, string | { readonly [condition: string]: string }>>;
}

const sourceCondition = "@tidemark/source";

/** Every source file that `exports` or `bin` of the package in the working directory points at, under its name in dist/. */
export function entriesOf(manifest: Manifest): Record<string, string> {
  const entries: Record<string, string> = {};
  const add = (source: string) => {
    entries[source.replace(/^\.\/src\//, "").replace(/\.ts$/, "")] = source.replace(/^\.\//, "");
  };
  for (const target of Object.values(manifest.exports ?? {})) {
    const source = typeof target === "string" ? undefined : target[sourceCondition];
    if (source !== undefined) add(source);
  }
  for (const target of Object.values(manifest.bin ?? {})) {
    add(target.replace("dist/", "src/").replace(/\.js$/, ".ts"));
  }
  return entries;
}

export interface BuildOptions {
  /** More files that must exist in dist/ under their own name, such as a worker thread's: `["src/store-worker.ts"]`. */
  readonly moreEntries?: readonly string[];
  /** Anything else tsup knows. */
  readonly tsup?: Options;
}

/** JavaScript for Node 22.18 and newer; the declarations come from tsc. */
export function packageBuild(options: BuildOptions = {}): ReturnType<typeof defineConfig> {
  const manifest = JSON.parse(readFileSync(join(process.cwd(), "package.json"), "utf8")) as Manifest;
  const more = (options.moreEntries ?? []).map((file) => [file.replace(/^src\//, "").replace(/\.ts$/, ""), file]);
  return defineConfig({
    entry: { ...entriesOf(manifest), ...(Object.fromEntries(more) as Record<string, string>) },
    format: "esm",
    platform: "node",
    // Lowers `await using`, which Node 22 cannot parse.
    target: "node22",
    sourcemap: true,
    clean: true,
    dts: false,
    silent: true,
    ...options.tsup,
  });
}
