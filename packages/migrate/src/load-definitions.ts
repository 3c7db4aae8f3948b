import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Migration, isMigration } from "./definition.ts";
import { MigrateError } from "./migrate-error.ts";

/**
 * Loads the definitions of a module, or of every module in a folder by name: whatever is exported under any name.
 *
 * @throws {MigrateError} `DEFINITIONS_INVALID`
 */
export async function loadDefinitions(location: string): Promise<Migration[]> {
  const path = location.startsWith("file:") ? fileURLToPath(location) : resolve(location);
  const found = new Set<Migration>();
  for (const file of await modulesAt(path)) {
    let module: Readonly<Record<string, unknown>>;
    try {
      module = (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>;
    } catch (error) {
      const because = error instanceof Error ? error.message : String(error);
      throw new MigrateError("DEFINITIONS_INVALID", `${file} cannot be loaded: ${because}`, { cause: error });
    }
    for (const value of Object.values(module)) {
      for (const each of Array.isArray(value) ? (value as unknown[]) : [value]) if (isMigration(each)) found.add(each);
    }
  }
  if (found.size > 0) return [...found];
  throw new MigrateError("DEFINITIONS_INVALID", `${path} exports no definition; make one with defineMigration()`);
}

async function modulesAt(path: string): Promise<string[]> {
  const found = await stat(path).catch((error: unknown) => {
    throw new MigrateError("DEFINITIONS_INVALID", `there is no file or folder ${path}`, { cause: error });
  });
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).filter(
    (name) => /\.[mc]?[jt]s$/.test(name) && !/\.(d|test|spec)\.\w+$/.test(name),
  );
  return names.toSorted().map((name) => join(path, name));
}
