import { existsSync, readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { dirname, extname, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { DaemonError } from "../daemon-error.ts";
import type { SecretConfig, SourceConfig, TidemarkConfig } from "./config.ts";
import { checkConfig } from "./config-schema.ts";
import { migrationsAt } from "./migrations-settings.ts";

const names = ["ts", "mts", "js", "mjs", "json"].map((extension) => `tidemark.config.${extension}`);

/** A checked configuration; its paths are absolute. */
export interface LoadedConfig {
  readonly config: TidemarkConfig;
  /** Undefined: there is none, every default holds. */
  readonly file: string | undefined;
}

/**
 * Reads the configuration: `file`, or `tidemark.config.{ts,mts,js,mjs,json}` in the working directory, or none.
 *
 * @param isReload whether it was read before: a module is read once otherwise. What it imports is not read again.
 * @throws {DaemonError} `CONFIG_INVALID`, with every setting that is wrong.
 */
export async function loadConfig(
  file: string | undefined,
  workingDirectory = process.cwd(),
  isReload = false,
): Promise<LoadedConfig> {
  const path =
    file === undefined
      ? names.map((name) => resolve(workingDirectory, name)).find((name) => existsSync(name))
      : resolve(workingDirectory, file);
  if (path === undefined) return { config: {}, file: undefined };
  const fromHere = relative(workingDirectory, path);
  const shownPath = fromHere.startsWith("..") ? path : fromHere;
  if (!existsSync(path)) {
    throw new DaemonError("CONFIG_INVALID", `There is no configuration file ${shownPath}.`, {
      fix: "Check the path after --config, or leave it out to use the defaults.",
    });
  }
  const checked = checkConfig(await readValue(path, shownPath, isReload));
  if ("problems" in checked) {
    const [first, ...more] = checked.problems;
    const lines = [first?.fix, ...more.map(({ problem, fix }) => (fix === undefined ? problem : `${problem} ${fix}`))];
    throw new DaemonError("CONFIG_INVALID", `${shownPath}: ${first?.problem ?? "invalid."}`, {
      fix: lines.filter((line) => line !== undefined).join("\n") || undefined,
    });
  }
  return { config: absolute(checked.config, dirname(path)), file: path };
}

let reloads = 0;

async function readValue(path: string, shownPath: string, isReload: boolean): Promise<unknown> {
  try {
    if (extname(path) === ".json") return JSON.parse(readFileSync(path, "utf8"));
    using _ = resolveOwnPackage();
    const module = (await import(`${pathToFileURL(path).href}${isReload ? `?reload=${++reloads}` : ""}`)) as {
      readonly default?: unknown;
    };
    if (module.default === undefined) {
      throw new DaemonError("CONFIG_INVALID", `${shownPath} exports nothing.`, {
        fix: 'Write `export default defineConfig({ … })` with `import { defineConfig } from "@tidemark/daemon"`.',
      });
    }
    return module.default;
  } catch (error) {
    if (DaemonError.is(error)) throw error;
    const problem = error instanceof Error ? error.message : String(error);
    const isSyntax = (error as { readonly code?: unknown }).code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX";
    throw new DaemonError("CONFIG_INVALID", `${shownPath} could not be read: ${problem}`, {
      cause: error,
      fix: isSyntax ? "Node only strips types: leave out enums, namespaces and parameter properties." : undefined,
    });
  }
}

/** Lets a configuration import this package where it is not installed, for example with `npx` or from a checkout. */
function resolveOwnPackage(): Disposable {
  const own = new URL(import.meta.url.endsWith(".ts") ? "../index.ts" : "./index.js", import.meta.url).href;
  const hooks = registerHooks({
    resolve: (specifier, context, next) =>
      specifier === "@tidemark/daemon" ? { url: own, shortCircuit: true } : next(specifier, context),
  });
  return { [Symbol.dispose]: () => hooks.deregister() };
}

function absolute(config: TidemarkConfig, folder: string): TidemarkConfig {
  const at = (path: string) => resolve(folder, path);
  return {
    ...config,
    ...(config.dataDir !== undefined && { dataDir: at(config.dataDir) }),
    ...(config.topicsAuth !== undefined && {
      topicsAuth: {
        ...config.topicsAuth,
        users: config.topicsAuth.users.map((user) => ({
          ...user,
          ...(user.password !== undefined && { password: secretAt(user.password, at) }),
          ...(user.tokens !== undefined && { tokens: user.tokens.map((token) => secretAt(token, at)) }),
        })),
      },
    }),
    ...(config.history?.database !== undefined && {
      history: { ...config.history, database: secretAt(config.history.database, at) },
    }),
    ...(config.tokens !== undefined && {
      tokens: config.tokens.map((each) => ({ ...each, token: secretAt(each.token, at) })),
    }),
    ...(config.tls !== undefined && { tls: filesAt(config.tls, at) }),
    ...(config.topicsTls !== undefined && { topicsTls: filesAt(config.topicsTls, at) }),
    ...(config.sites !== undefined && {
      sites: config.sites.map((site) => ({
        ...site,
        ...(site.token !== undefined && { token: secretAt(site.token, at) }),
        ...(site.peersToken !== undefined && { peersToken: secretAt(site.peersToken, at) }),
      })),
    }),
    ...(config.migrations !== undefined && {
      migrations: config.migrations.map((each) => migrationsAt(each, folder)),
    }),
    ...(config.mirrors !== undefined && {
      mirrors: config.mirrors.map((mirror) =>
        mirror.to.tls === undefined ? mirror : { ...mirror, to: { ...mirror.to, tls: filesAt(mirror.to.tls, at) } },
      ),
    }),
    ...(config.sources !== undefined && {
      sources: config.sources.map((source) => sourceAt(source, at)),
    }),
  };
}

type At = (path: string) => string;

function sourceAt(source: SourceConfig, at: At): SourceConfig {
  if (source.kind === "catalog") return source;
  const tls = source.tls !== undefined && { tls: filesAt(source.tls, at) };
  const token = source.kind !== "etcd" && source.token !== undefined && { token: secretAt(source.token, at) };
  const password = source.kind !== "watch" &&
    source.password !== undefined && { password: secretAt(source.password, at) };
  return { ...source, ...tls, ...token, ...password } as SourceConfig;
}

function filesAt<T extends object>(files: T, at: At): T {
  return Object.fromEntries(Object.entries(files).map(([key, path]) => [key, at(path as string)])) as T;
}

function secretAt(secret: SecretConfig, at: At): SecretConfig {
  return typeof secret === "object" && "file" in secret ? { file: at(secret.file) } : secret;
}
