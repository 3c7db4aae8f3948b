import type { Migration } from "./definition.ts";
import { MigrateError } from "./migrate-error.ts";

/** @throws {MigrateError} `DEFINITIONS_INVALID` for equal names, and for definitions that wait for each other. */
export function requireDistinct(definitions: readonly Migration[]): void {
  const names = new Set<string>();
  for (const { name } of definitions) {
    if (names.has(name)) throw new MigrateError("DEFINITIONS_INVALID", `two definitions are named "${name}"`);
    names.add(name);
  }
  const needs = new Map(definitions.map(({ name, dependsOn }) => [name, dependsOn]));
  const visit = (name: string, path: readonly string[]) => {
    if (path.includes(name)) {
      const ring = [...path.slice(path.indexOf(name)), name].join(" → ");
      throw new MigrateError("DEFINITIONS_INVALID", `definitions wait for each other: ${ring}`);
    }
    for (const needed of needs.get(name) ?? []) visit(needed, [...path, name]);
  };
  for (const name of names) visit(name, []);
}
