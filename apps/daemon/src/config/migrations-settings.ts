import { resolve } from "node:path";
import * as v from "valibot";
import { parseDatabaseUrl } from "../cli/migrate/database-url.ts";
import { DaemonError } from "../daemon-error.ts";
import type { SecretConfig } from "./config.ts";
import { type Environment, readSecret } from "./secrets.ts";

/** A database whose migrations are on the page, can be paused there, and show in the banner and the metrics. */
export interface MigrationsConfig {
  /** A SQLite file, or a URL of PostgreSQL, MySQL or MariaDB: the text, or where it is. */
  readonly url: SecretConfig;
  /**
   * A folder or module of definitions: the daemon works on them.
   * @default none: it only shows and controls what other processes work on
   */
  readonly folder?: string;
}

/** One of them, checked. */
export interface MigrationDatabaseSettings {
  /** With user and password. */
  readonly url: string;
  readonly folder: string | undefined;
}

/** The schema of one of them. */
export const migrationsEntries = <S extends v.GenericSchema>(secret: S) => ({
  url: secret,
  folder: v.optional(
    v.pipe(v.string('a path such as "./migrations"'), v.minLength(1, 'a path such as "./migrations"')),
  ),
});

/** With paths from the folder of the configuration. */
export function migrationsAt(config: MigrationsConfig, folder: string): MigrationsConfig {
  const at = (path: string) => resolve(folder, path);
  const { url } = config;
  const isFile = typeof url === "string" && !/^[a-z][a-z0-9+.-]+:/i.test(url);
  return {
    url: isFile ? at(url) : typeof url === "object" && "file" in url ? { file: at(url.file) } : url,
    ...(config.folder !== undefined && { folder: at(config.folder) }),
  };
}

/** @throws {DaemonError} `CONFIG_INVALID`, without a word of the URL: it may have a password. */
export function migrationsOf(
  configs: readonly MigrationsConfig[],
  env: Environment,
): readonly MigrationDatabaseSettings[] {
  const labels = new Set<string>();
  return configs.map(({ url: secret, folder }, index) => {
    const setting = `migrations[${index}].url`;
    // A path is no secret, and what is one in a URL is remembered where it is taken apart.
    const url = typeof secret === "string" ? secret : readSecret(secret, setting, env);
    let label: string;
    try {
      ({ label } = parseDatabaseUrl(url, env));
    } catch (error) {
      throw new DaemonError("CONFIG_INVALID", `\`${setting}\` is no database that is known here.`, {
        cause: error,
        fix: "Write app.db, postgres://user@host/database or mysql://user@host/database, with what is special in user and password percent-encoded.",
      });
    }
    if (labels.has(label)) {
      throw new DaemonError("CONFIG_INVALID", `\`${setting}\` is ${label} again.`, {
        fix: "List each database once.",
      });
    }
    labels.add(label);
    return { url, folder };
  });
}
