import { type Clock, systemClock } from "@tidemark/clock";
import { createStatus, Metrics, TtlCache } from "@tidemark/status";
import { urlOf } from "../config/address.ts";
import { storeStreamName } from "../config/defaults.ts";
import type { Settings } from "../config/settings.ts";
import { version } from "../version.ts";
import { createAdminService } from "./admin-service.ts";
import { Closers } from "./closers.ts";
import { openDataDir } from "./data-dir.ts";
import { Followers } from "./followers.ts";
import { openHttpServer } from "./http-server.ts";
import type { Logger } from "./log.ts";
import { openReplica } from "./replica.ts";
import { createRequestListener } from "./routes.ts";
import { readSamples, readStatus } from "./status-report.ts";
import { createSource, storeSource } from "./sources.ts";
import { openEmbeddedStore } from "./embedded-store.ts";
import { openEmbeddedTopics } from "./embedded-topics.ts";

export interface DaemonOptions {
  readonly log: Logger;
  /** Ends a start that is under way. */
  readonly signal: AbortSignal;
  /** @default systemClock */
  readonly clock?: Clock;
}

/** Everything that `tidemark up` runs. */
export interface Daemon {
  /** Where the page and the AdminService are. */
  readonly url: string;
  /** Where the embedded store serves the Watch API; undefined: there is none. */
  readonly watchUrl: string | undefined;
  /** Where topics are served, `grpc://127.0.0.1:2136/local`; undefined: they are not. */
  readonly topicsUrl: string | undefined;
  /** What is followed, and what is wrong with it. */
  followed(): readonly { readonly name: string; readonly description: string; readonly problem: string | undefined }[];
  /**
   * Commits what was received and stops, within `stopTimeoutMs`. Idempotent.
   *
   * @throws {DaemonError} `STOPPED_LATE` when time ran out; nothing is lost, it is read again at the next start.
   */
  close(): Promise<void>;
}

/** How long the first connection of a source is waited for, so that the greeting can tell how it went. */
const firstContactMs = 2000;
const storeLiveMs = 30_000;

/**
 * Starts everything and waits until it follows; an external source only has to have begun.
 *
 * @throws {DaemonError} when the folder, an address or a database cannot be used; what was started is stopped again.
 */
export async function openDaemon(settings: Settings, options: DaemonOptions): Promise<Daemon> {
  const { log, clock = systemClock } = options;
  const startedAtMs = clock.now();
  const stopping = new AbortController();
  const closers = new Closers(clock);

  try {
    // What is wrong with a source shows before anything is opened.
    const sources = await Promise.all(
      settings.sources.map(async (each) => ({ name: each.name, source: await createSource(each, settings.dataDir) })),
    );
    const folder = openDataDir(settings.dataDir);
    closers.add(() => folder.release());
    const http = await openHttpServer({ address: settings.listen, flag: "--listen", hosts: settings.hosts });
    closers.add(() => http.close(0));
    const history = await openReplica(folder.path, { synchronous: settings.synchronous });
    closers.add(() => history.close());
    const metrics = new Metrics({ version });
    closers.add(() => metrics.close());

    const store = settings.hasStore ? await openEmbeddedStore(folder.storeFile, settings.watchListen) : undefined;
    if (store !== undefined) closers.add(() => store.close());
    const topics =
      settings.topics === undefined
        ? undefined
        : await openEmbeddedTopics(folder.topicsFolder, settings.topics, "--topics-listen", clock);
    if (topics !== undefined) closers.add(() => topics.close());
    const followers = new Followers({
      history,
      metrics,
      log,
      clock,
      read: () => readSamples({ history, watchers: followers.watchers }),
    });
    closers.add(() => followers.close(settings.stopTimeoutMs / 2));

    const report = () =>
      readStatus({
        history,
        watchers: followers.watchers,
        version,
        startedAtMs,
        dataDir: settings.dataDir,
        watchUrl: store?.url ?? "",
        topicsUrl: topics?.url ?? "",
        command: process.env["TIDEMARK_COMMAND"] ?? "",
        nowMs: () => clock.now(),
      });
    const shared = new TtlCache({ name: "The status", load: report, ttlMs: 100, timeoutMs: 10_000, clock });
    const status = createStatus({
      version,
      metrics,
      liveness: { history: async () => void (await history.position()) },
      readiness: { streams: () => followers.readiness() },
      // A check is only a look at memory; remembering it would show a reconnected stream as broken.
      checkTtlMs: 0,
      clock,
    });
    const admin = createAdminService({
      history,
      followed: () => followers.watchers.map(({ name }) => name),
      status: report,
      // However many look at the page, the history is asked once.
      recentStatus: () => shared.get(),
      sync: (names, signal) => followers.sync(names, signal),
      signal: stopping.signal,
      clock,
    });
    http.serve(createRequestListener({ status, admin, store: store?.routes }));

    if (store !== undefined) {
      await followers.add(storeStreamName, await storeSource(store.url));
      await followers.untilLive(storeStreamName, storeLiveMs, options.signal);
    }
    for (const { name, source } of sources) await followers.add(name, source);
    await followers.untilContact(firstContactMs, options.signal);

    const url = urlOf(http.address);
    folder.announce(url);
    log.info({ http: url, watch: store?.url, topics: topics?.url, dataDir: settings.dataDir }, "ready");
    let closing: Promise<void> | undefined;
    return {
      url,
      watchUrl: store?.url,
      topicsUrl: topics?.url,
      followed: () => followers.describe(),
      close: () => {
        closing ??= stop();
        return closing;
      },
    };

    async function stop(): Promise<void> {
      log.info("stopping");
      const beganMs = clock.monotonic();
      stopping.abort(new Error("The daemon is stopping."));
      await http.close(Math.min(1000, settings.stopTimeoutMs / 4));
      // What the embedded store has acknowledged is in the replica, too, when we are gone.
      if (store !== undefined) await followers.settle(storeStreamName, settings.stopTimeoutMs / 2);
      await closers.close(settings.stopTimeoutMs - (clock.monotonic() - beganMs));
      log.info("stopped");
    }
  } catch (error) {
    stopping.abort(error);
    await closers
      .close(settings.stopTimeoutMs)
      .catch((failure: unknown) => log.debug({ err: failure }, "could not clean up"));
    throw error;
  }
}
