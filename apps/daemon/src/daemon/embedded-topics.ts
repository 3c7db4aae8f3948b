import { isDeepStrictEqual } from "node:util";
import { openTopicServer, TopicServerError } from "@tidemark/topic-server";
import type { Clock } from "@tidemark/clock";
import type { TopicsPort } from "./admin-topics.ts";
import type { TopicsSettings } from "../config/topics-settings.ts";
import { DaemonError } from "../daemon-error.ts";
import { listenError } from "./http-server.ts";

/** A topic service of our own. */
export interface EmbeddedTopics extends TopicsPort {
  /** What clients connect to: `grpc://127.0.0.1:2136/local`. */
  readonly url: string;
  /** Takes other users, certificates or limits, without a restart. Other users end streams that are open. */
  update(after: LiveTopicsSettings): void;
  close(): Promise<void>;
}

type LiveTopicsSettings = Pick<TopicsSettings, "auth" | "tls" | "maxCallsPerSecond">;

/**
 * @param folder of the service alone.
 * @param flag that changes the address, for messages.
 * @throws {DaemonError} `ADDRESS_IN_USE`, `ADDRESS_INVALID`, `DATA_DIR_IN_USE` or `DATA_DIR`.
 */
export async function openEmbeddedTopics(
  folder: string,
  settings: TopicsSettings,
  flag: string,
  clock: Clock,
): Promise<EmbeddedTopics> {
  const { listen, publicHost, database, auth, tls, maxConnections, maxCallsPerSecond, syncIntervalMs } = settings;
  try {
    const server = await openTopicServer({
      dataDir: folder,
      listen,
      ...(publicHost !== undefined && { publicHost }),
      database,
      auth,
      maxConnections,
      maxCallsPerSecond,
      ...(tls !== undefined && { tls }),
      sync: syncIntervalMs === undefined ? "always" : { intervalMs: syncIntervalMs },
      clock,
    });
    let live: LiveTopicsSettings = settings;
    return {
      url: server.connectionString,
      paths: () =>
        server.store
          .topics()
          .map(({ path }) => path)
          .toSorted(),
      report: (path) => server.report(path),
      update: (after) => {
        server.update({
          ...(!isDeepStrictEqual(after.auth, live.auth) && { auth: after.auth }),
          ...(after.tls !== undefined && { tls: after.tls }),
          maxCallsPerSecond: after.maxCallsPerSecond,
        });
        live = after;
      },
      close: () => server.close(),
    };
  } catch (error) {
    throw topicsError(error, folder, settings, flag);
  }
}

function topicsError(error: unknown, folder: string, settings: TopicsSettings, flag: string): unknown {
  const { syscall } = error as { readonly syscall?: unknown };
  if (syscall === "listen" || syscall === "getaddrinfo") return listenError(error, settings.listen, flag);
  if (!TopicServerError.is(error)) return error;
  const sentence = error.message.replace(/^\[[A-Z_]+\] /, "");
  if (error.code === "LOCKED") {
    return new DaemonError("DATA_DIR_IN_USE", `The topics in ${folder} are in use: ${sentence}.`, {
      cause: error,
      fix: "Stop the process that uses them, or use another folder with --data.",
    });
  }
  return new DaemonError("DATA_DIR", `The topics in ${folder} cannot be opened: ${sentence}.`, {
    cause: error,
    fix: "Check the folder and its rights, or use another folder with --data. Nothing was changed.",
  });
}
