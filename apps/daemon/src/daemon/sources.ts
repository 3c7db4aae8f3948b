import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Source } from "@tidemark/store-watch";
import { DaemonError } from "../daemon-error.ts";
import type { CatalogSettings } from "../config/catalog-settings.ts";
import type { GnmiSettings } from "../config/gnmi-settings.ts";
import type { EtcdSettings, SourceSettings } from "../config/settings.ts";

/** The embedded store, followed like any other: over its Watch API. */
export async function storeSource(url: string, token: string): Promise<Source> {
  const { watchSource } = await import("@tidemark/source-watch");
  return watchSource({ address: url, token });
}

/**
 * What a configured source is, each loaded when it is used.
 *
 * @param dataDir for what a source keeps itself.
 * @throws {DaemonError} `CONFIG_INVALID`
 */
export async function createSource(settings: SourceSettings, dataDir: string): Promise<Source> {
  switch (settings.kind) {
    case "watch": {
      const { watchSource } = await import("@tidemark/source-watch");
      const { url, prefix, token, tls, name } = settings;
      return watchSource({
        address: url,
        prefix,
        ...(token !== undefined && { token }),
        ...(tls !== undefined && { tls: readTls(tls, name) }),
      });
    }
    case "etcd": {
      const { etcdSource } = await import("@tidemark/source-etcd");
      return etcdSource(etcdOptions(settings));
    }
    case "gnmi":
      return createGnmiSource(settings);
    case "catalog":
      return createCatalogSource(settings, dataDir);
    default:
      return settings satisfies never;
  }
}

/** How an etcd is reached, to follow it and to write to it. @throws {DaemonError} `CONFIG_INVALID` */
export function etcdOptions({ endpoints, prefix, username, password, tls, name }: EtcdSettings) {
  return {
    endpoints,
    prefix,
    ...(username !== undefined && { credentials: { user: username, password: password ?? "" } }),
    ...(tls !== undefined && { tls: readTls(tls, name) }),
  };
}

async function createGnmiSource(settings: GnmiSettings): Promise<Source> {
  const { GnmiError, gnmiSource } = await import("@tidemark/source-gnmi");
  const { name, address, subscriptions, configOnly, allowPlaintextSecrets, username, password, token, tls } = settings;
  const { mode, intervalMs, encoding, target, listKeys } = settings;
  try {
    return gnmiSource({
      address,
      subscriptions,
      configOnly,
      allowPlaintextSecrets,
      ...(mode !== undefined && { mode }),
      ...(intervalMs !== undefined && { intervalMs }),
      ...(encoding !== undefined && { encoding }),
      ...(target !== undefined && { target }),
      ...(listKeys !== undefined && { listKeys }),
      ...(username !== undefined && { credentials: { user: username, password: password ?? "" } }),
      ...(token !== undefined && { token }),
      ...(tls !== undefined && { tls: readTls(tls, name) }),
    });
  } catch (error) {
    if (!GnmiError.is(error)) throw error;
    throw new DaemonError("CONFIG_INVALID", `The source ${JSON.stringify(name)}: ${error.detail}.`, { cause: error });
  }
}

async function createCatalogSource(settings: CatalogSettings, dataDir: string): Promise<Source> {
  const { CatalogError, catalogSource } = await import("@tidemark/source-catalog");
  const { kind: _kind, name, ...options } = settings;
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  try {
    return catalogSource({ catalogs: settings.catalogs, ...given, stateFile: join(dataDir, `${name}.catalogs.db`) });
  } catch (error) {
    if (!CatalogError.is(error)) throw error;
    const why = error.message.replace(/^\[\w+\] /, "");
    throw new DaemonError("CONFIG_INVALID", `The source ${JSON.stringify(name)}: ${why}.`, { cause: error });
  }
}

function readTls({ caFile, certFile, keyFile }: NonNullable<EtcdSettings["tls"]>, name: string) {
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new DaemonError(
      "CONFIG_INVALID",
      `The source ${JSON.stringify(name)} has only one of \`tls.certFile\` and \`tls.keyFile\`.`,
      {
        fix: "Give both, or neither.",
      },
    );
  }
  return {
    ...(caFile !== undefined && { ca: readPem(caFile, name) }),
    ...(certFile !== undefined && { cert: readPem(certFile, name) }),
    ...(keyFile !== undefined && { key: readPem(keyFile, name) }),
  };
}

function readPem(file: string, name: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new DaemonError(
      "CONFIG_INVALID",
      `A file of the source ${JSON.stringify(name)} cannot be read: ${(error as Error).message}`,
      {
        cause: error,
        fix: "Paths in `tls` are relative to the configuration file.",
      },
    );
  }
}
