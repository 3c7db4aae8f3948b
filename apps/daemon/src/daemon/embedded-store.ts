import { basename } from "node:path";
import type { ConnectRouter } from "@connectrpc/connect";
import { openStore, serveWatch, type Store, StoreError, watchRoutes } from "@tidemark/watch-server";
import type { ServerTls } from "../config/access-settings.ts";
import { type Address, urlOf } from "../config/address.ts";
import type { Access } from "./access.ts";
import { DaemonError } from "../daemon-error.ts";
import { listenError } from "./http-server.ts";
import type { OwnDatabase } from "./migration-board.ts";

/** A store of our own and its Watch API. */
export interface EmbeddedStore {
  readonly url: string;
  /** Where the daemon itself follows it: on this machine, without TLS, with its own token. */
  readonly ownUrl: string;
  /** The same service for another server's router. */
  readonly routes: (router: ConnectRouter) => void;
  /** For whoever writes on behalf of other sites. */
  readonly store: Pick<Store, "txn" | "size">;
  /** What has yet to be done to a file of an earlier release; undefined: nothing. */
  readonly upgrade: OwnDatabase | undefined;
  /** Takes other certificates for connections that are made from now on. */
  setTls(tls: ServerTls): void;
  close(): Promise<void>;
}

export interface EmbeddedStoreOptions {
  readonly file: string;
  readonly address: Address;
  readonly access: Access;
  /** Undefined: none. */
  readonly tls: ServerTls | undefined;
  readonly maxConnections: number;
  readonly maxRequestBytes: number;
}

/** @throws {DaemonError} `ADDRESS_IN_USE`, `ADDRESS_INVALID`, `SCHEMA_NEWER`, `DATA_DIR_IN_USE` or `DATA_DIR`. */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  const { file, address, access, tls, maxConnections, maxRequestBytes } = options;
  try {
    const store = await openStore({ file });
    try {
      const common = { store, guard: access.guard(), maxRequestBytes };
      const server = await serveWatch({
        ...common,
        listen: address,
        maxConnections,
        ...(tls !== undefined && { tls }),
      });
      // A certificate for other machines need not hold for this one, and clients may need one of their own.
      const own = tls === undefined ? undefined : await serveWatch(common);
      return {
        url: urlOf({ host: server.host, port: server.port }, tls !== undefined),
        ownUrl: own?.address ?? urlOf({ host: server.host, port: server.port }),
        routes: watchRoutes(store),
        store,
        upgrade: store.isUpgrading ? upgradeOf(store, file) : undefined,
        setTls: (changed) => server.setTls(changed),
        close: async () => {
          await Promise.all([server.close(), own?.close()]);
          await store.close();
        },
      };
    } catch (error) {
      await store.close();
      throw error;
    }
  } catch (error) {
    throw storeError(error, file, address);
  }
}

function upgradeOf(store: Store, file: string): OwnDatabase {
  return {
    label: `${basename(file)} of this daemon`,
    file,
    definitions: import.meta.resolve("@tidemark/watch-server/migrations"),
    onDone: async () => void (await store.finishUpgrade()),
  };
}

function storeError(error: unknown, file: string, address: Address): unknown {
  if (!StoreError.is(error)) return error;
  // The file is named already.
  const sentence = error.message.replace(/^\[[A-Z_]+\] /, "").replace(`${file} `, "it ");
  switch (error.code) {
    case "LISTEN_FAILED":
      return listenError(error.cause ?? error, address, "--watch-listen");
    case "SCHEMA_NEWER":
      return new DaemonError("SCHEMA_NEWER", `${file} was written by a newer Tidemark: ${sentence}.`, {
        cause: error,
        fix: "Update Tidemark, or use another folder with --data. Nothing was changed.",
      });
    case "STORE_LOCKED":
      return new DaemonError("DATA_DIR_IN_USE", `${file} is in use: ${sentence}.`, {
        cause: error,
        fix: "Stop the process that uses it, or use another folder with --data.",
      });
    case "FILE_UNUSABLE":
      return new DaemonError("DATA_DIR", `${file} cannot be opened: ${sentence}.`, {
        cause: error,
        fix: "Check the file and its rights, or use another folder with --data.",
      });
    default:
      return error;
  }
}
