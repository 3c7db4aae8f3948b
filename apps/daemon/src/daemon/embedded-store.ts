import type { ConnectRouter } from "@connectrpc/connect";
import { openStore, serveWatch, StoreError, watchRoutes } from "@tidemark/watch-server";
import { type Address, urlOf } from "../config/address.ts";
import { DaemonError } from "../daemon-error.ts";
import { listenError } from "./http-server.ts";

/** A store of our own and its Watch API. */
export interface EmbeddedStore {
  readonly url: string;
  /** The same service for another server's router. */
  readonly routes: (router: ConnectRouter) => void;
  close(): Promise<void>;
}

/** @throws {DaemonError} `ADDRESS_IN_USE`, `ADDRESS_INVALID`, `SCHEMA_NEWER`, `DATA_DIR_IN_USE` or `DATA_DIR`. */
export async function openEmbeddedStore(file: string, address: Address): Promise<EmbeddedStore> {
  try {
    const store = await openStore({ file });
    try {
      const server = await serveWatch({ store, listen: address });
      return {
        url: urlOf({ host: server.host, port: server.port }),
        routes: watchRoutes(store),
        close: async () => {
          await server.close();
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
