import { fileURLToPath } from "node:url";

/** The file of a module of definitions of the benchmark, as it lies beside this one or in what was built. */
export function definitionsAt(name: string): string {
  const isSource = import.meta.url.endsWith(".ts");
  return fileURLToPath(new URL(isSource ? `./${name}.ts` : `./bench/migrations/${name}.js`, import.meta.url));
}
