import { isIP } from "node:net";
import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import { createFrameServer, type FrameServer, type ServerTls } from "@tidemark/connect-transport";
import { Access, type TopicServerAuth } from "./service/access.ts";
import { AutoPartitioner } from "./service/auto-partitioner.ts";
import { otherRoutes } from "./service/other-routes.ts";
import { ReadSession } from "./service/read-session.ts";
import { reportTopic, type TopicReport } from "./service/report.ts";
import { Service } from "./service/service.ts";
import { topicRoutes } from "./service/topic-routes.ts";
import { WriteSession } from "./service/write-session.ts";
import type { ServedTopics } from "./served-topics.ts";
import type { StoreOptions, TopicStoreOptions } from "./storage/store-options.ts";
import { TopicStore } from "./storage/topic-store.ts";
import { TopicServerError } from "./topic-server-error.ts";

export interface TopicServerOptions extends TopicStoreOptions {
  readonly listen?: {
    /** @default "127.0.0.1" */
    readonly host?: string;
    /** 0: any free one. @default 0 */
    readonly port?: number;
  };
  /** The host that clients are told to dial. @default the one that is listened on, or 127.0.0.1 where that is all */
  readonly publicHost?: string;
  /** Where topics are. Absolute. @default "/local" */
  readonly database?: string;
  /**
   * Who may do what. `anyone`: everything, without a token; that is the default on a loopback address, and has to be said
   * on any other.
   */
  readonly auth?: TopicServerAuth | "anyone";
  /** @default none */
  readonly tls?: ServerTls;
  /** More connections are refused at once. At least 1. @default 4096 */
  readonly maxConnections?: number;
  /**
   * Calls that each user may begin in a second, streams included, and all that log in or have no token together. More are
   * OVERLOADED, with which clients try again. At least 1. @default no limit
   */
  readonly maxCallsPerSecond?: number;
  /** How long `close()` lets calls finish, in milliseconds. @default 5000 */
  readonly closeTimeoutMs?: number;
  /** @default the system's */
  readonly rng?: Rng;
}

export const topicServerDefaults = {
  listen: { host: "127.0.0.1", port: 0 },
  database: "/local",
  closeTimeoutMs: 5000,
} as const satisfies TopicServerOptions;

/** A running topic service. */
export interface TopicServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** For clients: `grpc://127.0.0.1:2136/local`. */
  readonly connectionString: string;
  /** What it serves, without the network. */
  readonly store: ServedTopics;
  /** Open connections. */
  readonly connections: number;
  /** Streams that read or write. */
  readonly openStreams: number;
  /** How a topic stands and how far its consumers are; undefined: there is none of that absolute path. */
  report(path: string): Promise<TopicReport | undefined>;
  /**
   * Takes other users, certificates or limits, without a restart: they hold for what begins from now on. With other users
   * streams that are open are ended, so that their clients come back as who they are now.
   *
   * @throws {TopicServerError} `OPTIONS_INVALID`, and the system's error for what is no certificate.
   */
  update(change: {
    readonly auth?: TopicServerAuth | "anyone";
    readonly tls?: ServerTls;
    readonly maxCallsPerSecond?: number;
  }): void;
  /** Ends all calls, stores what was taken, lets go of the data. Idempotent, and bounded by `closeTimeoutMs`. */
  close(): Promise<void>;
}

const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || host.startsWith("127.");
const service = "/Ydb.Topic.V1.TopicService";

/**
 * Serves the YDB Topic API from this process.
 *
 * @throws {TopicServerError} `LOCKED` when the data is in use, `CORRUPT` when it is damaged, `OPTIONS_INVALID`.
 */
export function openTopicServer(options: TopicServerOptions = {}): Promise<TopicServer> {
  return openServer(options);
}

/** … on any files. */
export async function openServer(options: TopicServerOptions & StoreOptions): Promise<TopicServer> {
  const host = options.listen?.host ?? topicServerDefaults.listen.host;
  const database = options.database ?? topicServerDefaults.database;
  const { auth, tls } = options;
  if (!/^(\/[^/]+)+$/.test(database)) {
    throw new TopicServerError(
      "OPTIONS_INVALID",
      `database must be an absolute path such as /local, got "${database}"`,
    );
  }
  if (auth === undefined && !isLoopback(host)) {
    const message = `auth must be set to listen on ${host}: users, or "anyone" to let in whoever can reach it`;
    throw new TopicServerError("OPTIONS_INVALID", message);
  }
  const clock: Clock = options.clock ?? systemClock;
  const rng = options.rng ?? systemRng;
  const store = await TopicStore.open(options);
  try {
    const secret = store.catalog.secret("login", () => rng.bytes(32));
    await store.catalog.sync();
    const access = new Access(auth === "anyone" ? undefined : auth, secret, clock);
    if (options.maxCallsPerSecond !== undefined) access.rate.set(options.maxCallsPerSecond);
    const shared = new Service({ store, access, database, clock, rng });
    await shared.transactions.recover();
    const autoPartitioner = new AutoPartitioner(store);
    store.addChore(() => autoPartitioner.look());
    const endpoint = { host: options.publicHost ?? publicHost(host), port: 0, isTls: tls !== undefined };
    const server: FrameServer = createFrameServer({
      clock,
      ...(tls === undefined ? {} : { tls }),
      ...(options.maxConnections !== undefined && { maxConnections: options.maxConnections }),
      closeTimeoutMs: options.closeTimeoutMs ?? topicServerDefaults.closeTimeoutMs,
      frames: {
        [`${service}/StreamWrite`]: (call) => new WriteSession(shared, call),
        [`${service}/StreamRead`]: (call) => new ReadSession(shared, call),
      },
      routes: (router) => {
        topicRoutes(router, shared);
        otherRoutes(router, shared, () => endpoint);
      },
    });
    const address = await server.listen({ host, port: options.listen?.port ?? topicServerDefaults.listen.port });
    endpoint.port = address.port;
    const close = async () => {
      shared.endSessions();
      await server.close();
      await store.close();
    };
    const shown = isIP(endpoint.host) === 6 ? `[${endpoint.host}]` : endpoint.host;
    return {
      host: address.host,
      port: address.port,
      connectionString: `${tls === undefined ? "grpc" : "grpcs"}://${shown}:${address.port}${database}`,
      store,
      get connections() {
        return server.connections;
      },
      get openStreams() {
        return server.openCalls;
      },
      report: async (path) => {
        const topic = store.topic(path);
        return topic && reportTopic(shared, topic);
      },
      update(change) {
        if (change.tls !== undefined) server.setTls(change.tls);
        if (change.maxCallsPerSecond !== undefined) access.rate.set(change.maxCallsPerSecond);
        if (change.auth === undefined) return;
        access.set(change.auth === "anyone" ? undefined : change.auth);
        shared.renewSessions();
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Nobody can dial "all addresses". */
function publicHost(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}
