import { type Clock, deadline, type Rng } from "@tidemark/clock";
import { type Cycle, type CycleStatus, itemPhase, openCycle, phase, type Phase } from "@tidemark/reconcile";
import type { Metrics } from "@tidemark/status";
import { auditStream, type History, type QuarantineRecord } from "@tidemark/store-watch";
import type { UpkeepSettings } from "../../config/upkeep-settings.ts";
import { redact } from "../../redact.ts";
import type { Logger } from "../log.ts";
import { UpkeepBooks } from "./upkeep-books.ts";
import { UpkeepMetrics } from "./upkeep-metrics.ts";
import type { RecordedAudit, UpkeptStream } from "./upkeep-types.ts";

export interface UpkeepOptions {
  readonly history: Pick<History, "list" | "quarantine" | "retryQuarantined" | "prune">;
  /** Everything that is followed, asked for whenever it is needed. */
  readonly streams: () => readonly UpkeptStream[];
  readonly settings: UpkeepSettings;
  readonly folder: string;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
  readonly rng?: Rng;
}

/** How often there is a look at what is due. */
const everyMs = 30_000;
/** Waits between tries of a change that the history refused; after so many it is left to a person. */
const quarantineRetry = { initialDelayMs: 60_000, maxDelayMs: 3_600_000, quarantineAfter: 10 };
/** The same for an audit that came to no result. */
const auditRetry = { initialDelayMs: 60_000, maxDelayMs: 3_600_000 };
/**
 * Sources that never set a change aside themselves: what is in quarantine of theirs was refused by the database, and may
 * pass by now. What a source could not decode must not be taken as it came without a person saying so.
 */
const decodingKinds: readonly string[] = ["etcd", "tidemark"];

/**
 * What the daemon does about its own replica, derived anew in every cycle from what is there: audits that are due, retention,
 * changes in quarantine that may pass by now.
 */
export class Upkeep {
  #options: UpkeepOptions;
  readonly #books: UpkeepBooks;
  readonly #metrics: UpkeepMetrics;
  readonly #abort = new AbortController();
  #cycle: Cycle | undefined;
  /** Audits take turns, whoever asks: each reads a whole replica. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: UpkeepOptions) {
    this.#options = options;
    this.#metrics = new UpkeepMetrics(options.metrics);
    this.#books = new UpkeepBooks(options.folder);
  }

  /** @throws {DaemonError} `DATA_DIR` when its file cannot be used. */
  static async open(options: UpkeepOptions): Promise<Upkeep> {
    const upkeep = new Upkeep(options);
    upkeep.#cycle = await upkeep.#open();
    return upkeep;
  }

  /** Other settings hold from now on; a look that is under way is ended. */
  async set(settings: UpkeepSettings): Promise<void> {
    await this.#cycle?.close();
    this.#options = { ...this.#options, settings };
    this.#cycle = await this.#open();
  }

  status(): CycleStatus | undefined {
    return this.#cycle?.status();
  }

  /** One look at what is due, now. */
  async run(): Promise<void> {
    const next = this.#cycle?.next();
    this.#cycle?.trigger();
    await next;
  }

  /** The last audit of each stream, also of before a restart. */
  reports(): readonly RecordedAudit[] {
    return this.#books.reports();
  }

  /** Names of the streams that can be audited. */
  auditable(): readonly string[] {
    return this.#audited().map(({ watcher }) => watcher.name);
  }

  /** Audits one stream now. What goes wrong is in the report, too. */
  async audit(name: string, isRepaired: boolean, signal: AbortSignal): Promise<RecordedAudit> {
    const stream = this.#audited().find(({ watcher }) => watcher.name === name);
    const turn = this.#turn.then(() => this.#audit(name, stream, isRepaired, signal));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async close(): Promise<void> {
    this.#abort.abort(new Error("The daemon is stopping."));
    await this.#cycle?.close();
    await this.#turn;
    this.#books.close();
  }

  #open(): Promise<Cycle> {
    const { clock, rng } = this.#options;
    return openCycle(
      { name: "upkeep", everyMs, phases: this.#phases() },
      { state: this.#books.store, clock, ...(rng !== undefined && { rng }) },
    );
  }

  #phases(): Phase<unknown>[] {
    const { settings, clock } = this.#options;
    const phases: Phase<unknown>[] = [this.#retryPhase()];
    if (settings.audit.everyMs > 0) phases.push(this.#auditPhase());
    const { keepMs, everyMs: retentionEveryMs } = settings.retention;
    if (keepMs !== undefined) {
      phases.push(
        phase({
          name: "retention",
          gate: { config: () => JSON.stringify(settings.retention), everyMs: retentionEveryMs },
          run: async () => this.#prune(clock.now() - keepMs),
        }),
      );
    }
    return phases;
  }

  #retryPhase(): Phase<unknown> {
    const { history, log, streams } = this.#options;
    return itemPhase<QuarantineRecord>({
      name: "retry quarantined",
      concurrency: 1,
      select: async () => {
        const kinds = new Map(streams().map(({ watcher }) => [watcher.name, watcher.status().kind]));
        const isOurs = ({ stream }: QuarantineRecord) => decodingKinds.includes(kinds.get(stream) ?? "");
        return (await history.quarantine()).filter(isOurs);
      },
      key: ({ id }) => String(id),
      tenant: ({ stream }) => stream,
      sinceMs: ({ atMs }) => atMs,
      retry: quarantineRetry,
      run: async ({ id, stream }) => {
        try {
          await history.retryQuarantined(id);
        } catch (error) {
          this.#metrics.retried("refused");
          throw error;
        }
        this.#metrics.retried("stored");
        log.info({ stream, id }, "a change that was in quarantine could be stored");
      },
    });
  }

  #auditPhase(): Phase<unknown> {
    const { settings, clock } = this.#options;
    return itemPhase<UpkeptStream>({
      name: "audit",
      concurrency: 1,
      itemTimeoutMs: settings.audit.timeoutMs + 5_000,
      select: async ({ nowMs }) =>
        this.#audited().filter(
          ({ watcher }) => nowMs - this.#books.settledMs(watcher.name, nowMs) >= settings.audit.everyMs,
        ),
      key: ({ watcher }) => watcher.name,
      // One that is not live is behind its source, and says so by itself.
      isWanted: ({ watcher }) => watcher.status().state === "live",
      sinceMs: ({ watcher }) => this.#books.settledMs(watcher.name, clock.now()),
      retry: auditRetry,
      run: async ({ watcher }, { signal }) => {
        const { verdict, reason } = await this.audit(watcher.name, settings.audit.repair, signal);
        if (!isSettled(verdict)) throw new Error(`${verdict}: ${reason}`);
      },
    });
  }

  async #prune(beforeMs: number): Promise<void> {
    const { history, log } = this.#options;
    const { removed, floor } = await history.prune({ before: { timeMs: beforeMs } });
    this.#metrics.pruned(removed);
    if (removed > 0) log.info({ removed, floor: String(floor) }, "retention removed superseded versions");
  }

  #audited(): (UpkeptStream & { readonly openSource: NonNullable<UpkeptStream["openSource"]> })[] {
    return this.#options.streams().flatMap(({ watcher, openSource }) => (openSource ? [{ watcher, openSource }] : []));
  }

  async #audit(
    name: string,
    stream: UpkeptStream | undefined,
    isRepaired: boolean,
    signal: AbortSignal,
  ): Promise<RecordedAudit> {
    const { history, settings, clock, log } = this.#options;
    const startedMs = clock.monotonic();
    using limit = deadline(clock, settings.audit.timeoutMs, AbortSignal.any([signal, this.#abort.signal]));
    let report: RecordedAudit;
    try {
      const source = await stream?.openSource?.();
      if (stream === undefined || source === undefined) throw new Error(`The stream ${name} cannot be audited.`);
      const found = await auditStream({
        watcher: stream.watcher,
        history,
        source,
        isRepaired,
        signal: limit.signal,
        clock,
      });
      report = { ...found, atMs: clock.now() };
    } catch (error) {
      signal.throwIfAborted();
      this.#abort.signal.throwIfAborted();
      const isLate = limit.signal.aborted;
      const why = isLate ? `it took longer than ${settings.audit.timeoutMs} ms` : textOf(error);
      report = {
        ...nothing,
        stream: name,
        reason: redact(why),
        durationMs: clock.monotonic() - startedMs,
        atMs: clock.now(),
      };
    }
    const { verdict, reason, missing, extra, changed, quarantined, keys, durationMs } = report;
    this.#metrics.audited(report, isSettled(verdict));
    this.#books.record(report, isSettled(verdict));
    const facts = { stream: name, verdict, reason, missing, extra, changed, quarantined, keys, durationMs };
    if (verdict === "equal") log.info(facts, "the replica is what its source is");
    else if (verdict === "repaired") log.error(facts, "the replica differed from its source, and was repaired");
    else if (verdict === "different") log.error(facts, "the replica differs from its source");
    else log.warn(facts, "an audit came to no result; it is tried again");
    return report;
  }
}

const nothing = {
  verdict: "failed",
  epoch: undefined,
  cursor: undefined,
  keys: 0,
  checksum: "",
  missing: 0,
  extra: 0,
  changed: 0,
  isTruncated: false,
  quarantined: 0,
  differences: [],
} as const;

function isSettled(verdict: RecordedAudit["verdict"]): boolean {
  return verdict === "equal" || verdict === "repaired";
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
