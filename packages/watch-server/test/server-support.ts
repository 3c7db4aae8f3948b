import net from "node:net";
import { onTestFinished } from "vitest";
import {
  createStoreClient,
  type ServeWatchOptions,
  type Store,
  type StoreClient,
  type StoreOptions,
  serveWatch,
  type WatchServer,
} from "../src/index.ts";
import { testStore } from "./support.ts";

export interface Served {
  readonly store: Store;
  readonly server: WatchServer;
  readonly client: StoreClient;
}

/** A store behind a real port, and a client of it; all are closed with the test. */
export async function served(
  options: Partial<ServeWatchOptions> = {},
  storeOptions: Partial<StoreOptions> = {},
): Promise<Served> {
  const store = options.store ?? (await testStore(storeOptions));
  const server = await serveWatch({ closeTimeoutMs: 1000, ...options, store });
  onTestFinished(() => server.close());
  return { store, server, client: testClient(server.address) };
}

export function testClient(address: string): StoreClient {
  const client = createStoreClient({ address });
  onTestFinished(() => client.close());
  return client;
}

/** What the server says to these bytes until it hangs up. */
export function say(port: number, bytes: string | Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let heard = "";
    const socket = net.connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.on("data", (data) => {
      heard += data.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(heard));
    onTestFinished(() => void socket.destroy());
  });
}

export interface Relay {
  readonly address: string;
  /** Cuts every connection without a goodbye. */
  cut(): void;
  /** Keeps connections open, and lets nothing through any more. */
  freeze(): void;
}

/** A TCP relay to a port. */
export async function relay(port: number): Promise<Relay> {
  const sockets = new Set<net.Socket>();
  let isFrozen = false;
  const server = net.createServer((near) => {
    const far = net.connect(port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("data", (data) => {
        if (!isFrozen) to.write(data);
      });
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  onTestFinished(() => {
    cut();
    server.close();
  });
  return {
    address: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    cut,
    freeze() {
      isFrozen = true;
    },
  };
}
