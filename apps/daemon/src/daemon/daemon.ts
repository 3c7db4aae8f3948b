import { isDeepStrictEqual } from "node:util";
import { type Clock, systemClock } from "@tidemark/clock";
import { addMigrationMetrics, createStatus, Metrics, TtlCache } from "@tidemark/status";
import { urlOf } from "../config/address.ts";
import { storeStreamName } from "../config/defaults.ts";
import type { Settings } from "../config/settings.ts";
import { version } from "../version.ts";
import { Access } from "./access.ts";
import { createAdminService } from "./admin-service.ts";
import { Closers } from "./closers.ts";
import { openDataDir } from "./data-dir.ts";
import { Followers } from "./followers.ts";
import { openHttpServer } from "./http-server.ts";
import type { Logger } from "./log.ts";
import { MigrationBoard } from "./migration-board.ts";
import { planReload } from "./reload.ts";
import { openReplica, openSharedReplica } from "./replica.ts";
import { createRequestListener } from "./routes.ts";
import { readSamples, readStatus } from "./status-report.ts";
import { StreamSamples } from "./stream-samples.ts";
import { Sites } from "./sites/sites.ts";
import { createSource, storeSource } from "./sources.ts";
import { createUpkeepService } from "./upkeep/upkeep-service.ts";
import { Upkeep } from "./upkeep/upkeep.ts";
import { upkeptStreams } from "./upkeep/upkept-streams.ts";
import { openEmbeddedStore } from "./embedded-store.ts";
import { openEmbeddedTopics } from "./embedded-topics.ts";
import { openTraces } from "./traces.ts";

export interface DaemonOptions {
  readonly log: Logger;
  /** Ends a start that is under way. */
  readonly signal: AbortSignal;
  /** Another daemon writes the history in the database: from now on this one waits to go on in its place. */
  readonly onStandby?: (reason: string) => void;
  /** Reads the configuration again, for {@link Daemon.reload}. @default there is none to read */
  readonly readSettings?: () => Promise<Settings>;
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
   * Reads the configuration again and changes what can change, or nothing. Says what changed, a sentence each.
   *
   * @throws {DaemonError} `CONFIG_INVALID`, `USAGE`; `REFUSED` for what needs a restart.
   */
  reload(): Promise<readonly string[]>;
  /** Whether everything that readers need works; rejects where it does not. */
  check(): Promise<void>;
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
export async function openDaemon(initial: Settings, options: DaemonOptions): Promise<Daemon> {
  let settings = initial;
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
    const http = await openHttpServer({
      address: settings.listen,
      flag: "--listen",
      hosts: settings.hosts,
      tls: settings.tls,
      maxConnections: settings.maxConnections,
    });
    closers.add(() => http.close(0));
    const history =
      settings.database === undefined
        ? await openReplica(folder.path, { synchronous: settings.synchronous })
        : await openSharedReplica(settings.database, {
            synchronous: settings.synchronous,
            signal: options.signal,
            clock,
            onStandby: (reason) => {
              http.wait("Tidemark stands by: another daemon writes the history.\n");
              log.info({ reason }, "standing by: another daemon writes the history");
              options.onStandby?.(reason);
            },
          });
    closers.add(() => history.close());
    const traces = await openTraces(log, clock);
    closers.add(() => traces.close());
    const metrics = new Metrics({ version });
    closers.add(() => metrics.close());

    const access = new Access(settings.access, { requestsPerSecond: settings.requestsPerSecond, clock });
    const store = settings.hasStore
      ? await openEmbeddedStore({
          file: folder.storeFile,
          address: settings.watchListen,
          access,
          tls: settings.tls,
          maxConnections: settings.maxConnections,
          maxRequestBytes: settings.maxRequestBytes,
        })
      : undefined;
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
      read: () => readSamples({ history, watchers: followers.watchers, sites: sites.all }),
    });
    closers.add(() => followers.close(settings.stopTimeoutMs / 2));
    const sites = new Sites({ history, log, clock, traces, dataDir: folder.path, store: store?.store });
    closers.add(() => sites.close());
    const samples = new StreamSamples(() => followers.watchers.map((watcher) => watcher.status()), clock);
    closers.add(() => samples.close());
    samples.start();
    const own = store?.upgrade === undefined ? [] : [store.upgrade];
    const migrations =
      settings.migrations.length + own.length === 0
        ? undefined
        : new MigrationBoard({ databases: settings.migrations, own, log, clock, traces });
    if (migrations !== undefined) {
      closers.add(() => migrations.close());
      addMigrationMetrics(metrics, migrations.source);
    }

    const openAgain = (name: string) => {
      if (store !== undefined && name === storeStreamName) return () => storeSource(store.ownUrl, access.internalToken);
      const found = settings.sources.find((each) => each.name === name);
      return found && (() => createSource(found, settings.dataDir));
    };
    const upkeep = await Upkeep.open({
      history,
      streams: () => upkeptStreams(followers, openAgain),
      settings,
      folder: folder.path,
      metrics,
      log,
      clock,
    });
    closers.add(() => upkeep.close());

    const report = () =>
      readStatus({
        history,
        watchers: followers.watchers,
        version,
        startedAtMs,
        dataDir: settings.dataDir,
        watchUrl: store?.url ?? "",
        topicsUrl: topics?.url ?? "",
        migrationDatabases: migrations?.size ?? 0,
        sites: sites.all,
        sourceOf: (watcher) => followers.sourceOf(watcher),
        audits: () => upkeep.reports(),
        storedBytes: async () => (await store?.store.size())?.bytes,
        command: process.env["TIDEMARK_COMMAND"] ?? "",
        nowMs: () => clock.now(),
      });
    const shared = new TtlCache({ name: "The status", load: report, ttlMs: 100, timeoutMs: 10_000, clock });
    const status = createStatus({
      version,
      metrics,
      liveness: { history: async () => void (await history.position()) },
      readiness: { streams: () => followers.readiness() },
      showsDetails: ({ headers }) => access.allows(headers["authorization"], "read"),
      // A check is only a look at memory; remembering it would show a reconnected stream as broken.
      checkTtlMs: 0,
      ...(migrations !== undefined && { migrations: migrations.source }),
      clock,
    });
    const admin = createAdminService({
      history,
      followed: () => followers.watchers.map(({ name }) => name),
      status: report,
      // However many look at the page, the history is asked once.
      recentStatus: () => shared.get(),
      sync: (names, signal) => followers.sync(names, signal),
      operations: { samples, topics, migrations, sites: () => sites.all },
      ...(options.readSettings !== undefined && { reload: () => reload() }),
      signal: stopping.signal,
      clock,
    });
    http.serve(
      createRequestListener({
        status,
        admin,
        access,
        maxRequestBytes: settings.maxRequestBytes,
        store: store?.routes,
        sites: sites.routes,
        upkeep: createUpkeepService(upkeep, stopping.signal),
      }),
    );

    if (store !== undefined) {
      await followers.add(storeStreamName, await storeSource(store.ownUrl, access.internalToken));
      await followers.untilLive(storeStreamName, storeLiveMs, options.signal);
    }
    for (const { name, source } of sources) await followers.add(name, source);
    for (const mirror of settings.mirrors) await sites.addMirror(mirror);
    for (const site of settings.sites) await sites.add(site);
    migrations?.start();
    await followers.untilContact(firstContactMs, options.signal);

    const url = urlOf(http.address, settings.tls !== undefined);
    folder.announce(url);
    log.info({ http: url, watch: store?.url, topics: topics?.url, dataDir: settings.dataDir }, "ready");
    let closing: Promise<void> | undefined;
    let reloading: Promise<unknown> = Promise.resolve();
    return {
      url,
      watchUrl: store?.url,
      topicsUrl: topics?.url,
      followed: () => followers.describe(),
      reload,
      check: async () => void (await history.position()),
      close: () => {
        closing ??= stop();
        return closing;
      },
    };

    // One after the other: each compares with what the one before made.
    function reload(): Promise<readonly string[]> {
      const done = reloading.then(() => reloadNow());
      reloading = done.catch(() => {});
      return done;
    }

    async function reloadNow(): Promise<readonly string[]> {
      const after = await options.readSettings?.();
      if (after === undefined || stopping.signal.aborted) return [];
      const plan = planReload(settings, after);
      // Whatever can fail does so before anything has changed.
      const begun = await Promise.all(
        plan.begun.map(async (each) => ({ name: each.name, source: await createSource(each, settings.dataDir) })),
      );
      const before = settings;
      settings = after;
      if (after.topics !== undefined && !isDeepStrictEqual(before.topics, after.topics)) topics?.update(after.topics);
      if (after.tls !== undefined && !isDeepStrictEqual(before.tls, after.tls)) {
        http.setTls(after.tls);
        store?.setTls(after.tls);
      }
      http.setHosts(after.hosts);
      log.level = after.logLevel;
      access.set(after.access, after.requestsPerSecond);
      if (!isDeepStrictEqual([before.audit, before.retention], [after.audit, after.retention])) await upkeep.set(after);
      for (const name of plan.ended) {
        await followers
          .remove(name, after.stopTimeoutMs / 2)
          .catch((error: unknown) => log.warn({ stream: name, err: error }, "a stream did not end in time"));
      }
      for (const { name, source } of begun) await followers.add(name, source);
      log.info({ changes: plan.changes }, "reloaded");
      return plan.changes;
    }

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
