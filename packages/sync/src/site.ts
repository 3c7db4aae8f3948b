import type { ConflictGroup, GraphEdit, GraphWritten } from "@tidemark/store-watch";
import { backoffDelayMs, resolveBackoff } from "@tidemark/stream";
import type { Publisher } from "./channel.ts";
import { Level } from "./level.ts";
import type { Peer } from "./peer.ts";
import { type Decision, isAmongMerges, planResolution, textOf } from "./resolution.ts";
import type { Sink } from "./sink.ts";
import { resolveSite, type SiteOptions, type SiteStore } from "./site-options.ts";
import type { SiteCounters, SiteEvent, SiteStatus } from "./site-status.ts";
import { isRetryable, SyncError, toSyncError } from "./sync-error.ts";
import { Turns } from "./turns.ts";

export interface Site extends AsyncDisposable {
  /** Names this site in the vectors of all sites. */
  readonly origin: string;
  /**
   * Writes one transaction here: it is durable when this resolves, and goes to the other sites as a whole.
   *
   * @throws {SyncError} `CLOSED`; {StoreWatchError} `COMMIT_FAILED`
   */
  write(edits: readonly SiteEdit[]): Promise<GraphWritten>;
  /** Groups of keys whose conflict is open. */
  conflicts(): Promise<readonly ConflictGroup[]>;
  /** Resolves once the channel has everything that was written before. */
  flush(signal?: AbortSignal): Promise<void>;
  status(): Promise<SiteStatus>;
  /** This site as a peer of others. */
  missing(vector: Readonly<Record<string, number>>): Promise<readonly Uint8Array[]>;
  /** Calls back with what happens, until the function that is returned is called. */
  onEvent(listener: (event: SiteEvent) => void): () => void;
  /** Resolves when it is closed, rejects when it cannot go on. */
  readonly closed: Promise<void>;
  /** Stops; what is not published yet is after the next start. */
  close(): Promise<void>;
}

/** A new value of a key; undefined deletes it. It takes the place of every head that the key has here. */
export interface SiteEdit {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly attributes?: string;
}

/**
 * Starts to exchange changes: publishes what is made here, applies what the others made, and resolves conflicts.
 *
 * @throws {SyncError} `OPTIONS_INVALID`
 */
export function openSite(options: SiteOptions): Site {
  const site = new RunningSite(options);
  site.start();
  return site;
}

class RunningSite implements Site {
  readonly #options: ReturnType<typeof resolveSite>;
  readonly #stop = new AbortController();
  readonly #turns = new Turns();
  /** There may be something to publish. */
  readonly #written = new Level();
  /** There may be conflicts. */
  readonly #applied = new Level();
  /** Something else may be shown than in the store. */
  readonly #moved = new Level();
  /** The channel has more than before, or the site is over. */
  readonly #sent = new Level();
  readonly #listeners = new Set<(event: SiteEvent) => void>();
  readonly #end = Promise.withResolvers<void>();
  readonly #counters: { -readonly [Key in keyof SiteCounters]: SiteCounters[Key] } = {
    caughtUp: 0,
    ingested: 0,
    stored: 0,
    refused: 0,
    applied: 0,
    duplicates: 0,
    echoes: 0,
    resolved: 0,
    policyFailures: 0,
    retries: 0,
  };
  /** Conflicts that stay open, as they were when that was decided. */
  #kept = new Set<string>();
  /** Peers that may have what this site has not. */
  readonly #behind = new Set<Peer>();
  #published = 0;
  #problem: string | undefined;
  #failure: SyncError | undefined;
  #loops: Promise<unknown> = Promise.resolve();

  constructor(options: SiteOptions) {
    this.#options = resolveSite(options);
    this.#end.promise.catch(() => undefined);
  }

  get origin(): string {
    return this.#options.graph.origin;
  }

  get closed(): Promise<void> {
    return this.#end.promise;
  }

  start(): void {
    const { store } = this.#options;
    const sink = store?.sink;
    const parts = [
      ...(store === undefined
        ? []
        : [(signal: AbortSignal, onProgress: () => void) => this.#ingest(store, signal, onProgress)]),
      ...(sink === undefined
        ? []
        : [(signal: AbortSignal, onProgress: () => void) => this.#writeStore(sink, signal, onProgress)]),
      (signal: AbortSignal, onProgress: () => void) => this.#publish(signal, onProgress),
      (signal: AbortSignal, onProgress: () => void) => this.#receive(signal, onProgress),
      (signal: AbortSignal, onProgress: () => void) => this.#resolve(signal, onProgress),
      (signal: AbortSignal, onProgress: () => void) => this.#askPeers(signal, onProgress),
    ];
    this.#loops = Promise.all(parts.map((part) => this.#supervise(part)));
  }

  async write(edits: readonly SiteEdit[]): Promise<GraphWritten> {
    return this.#write(edits.map((edit) => ({ type: "version", ...edit })));
  }

  async conflicts(): Promise<readonly ConflictGroup[]> {
    const groups = new Map<string, ConflictGroup>();
    for (let after = 0; ; ) {
      const group = await this.#options.graph.conflictGroup(after);
      if (group === undefined) return [...groups.values()];
      after = group.next;
      groups.set(signatureOf(group), group);
    }
  }

  async flush(signal?: AbortSignal): Promise<void> {
    const { graph } = this.#options;
    const generation = (await graph.status()).vector[graph.origin] ?? 0;
    const stop = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
    while (this.#published < generation) await this.#sent.after(this.#sent.count, stop);
  }

  async status(): Promise<SiteStatus> {
    const { vector, waiting, conflicts } = await this.#options.graph.status();
    const isOver = this.#stop.signal.aborted;
    const state = this.#failure !== undefined ? "failed" : isOver ? "closed" : this.#problem ? "retrying" : "running";
    return {
      state,
      problem: this.#failure?.message ?? this.#problem,
      behind: [...this.#behind].map(({ name }) => name),
      origin: this.origin,
      vector,
      published: this.#published,
      waiting,
      conflicts,
      counters: { ...this.#counters },
    };
  }

  async missing(vector: Readonly<Record<string, number>>): Promise<readonly Uint8Array[]> {
    this.#stop.signal.throwIfAborted();
    return this.#options.graph.missing(vector);
  }

  onEvent(listener: (event: SiteEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    if (!this.#stop.signal.aborted) this.#stop.abort(new SyncError("CLOSED", "the site is closed"));
    await this.#loops;
    this.#end.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #write(edits: readonly GraphEdit[]): Promise<GraphWritten> {
    this.#stop.signal.throwIfAborted();
    try {
      return await this.#turns.take(() => this.#options.graph.write(edits));
    } finally {
      // Also after an error: nobody knows whether it was committed.
      this.#written.raise();
      this.#moved.raise();
    }
  }

  /** Sends what was made here, from the durable log, from where the channel is on. */
  async #publish(signal: AbortSignal, onProgress: () => void): Promise<void> {
    const { graph, channel, maxPublishBytes } = this.#options;
    const publisher: Publisher = await channel.openPublisher(graph.origin, signal);
    try {
      const own = (await graph.status()).vector[graph.origin] ?? 0;
      if (publisher.lastSeqNo > own) {
        throw new SyncError(
          "REWOUND",
          `the channel has change ${publisher.lastSeqNo} of this site (${graph.origin}), whose history ends at ${own}: it was ` +
            "restored from a backup, or lost its last commits. Start with a new history, which takes everything from the others",
        );
      }
      this.#reach(publisher.lastSeqNo);
      for (;;) {
        const seen = this.#written.count;
        const messages = await graph.batches(this.#published, { maxBytes: maxPublishBytes });
        const last = messages.at(-1);
        if (last === undefined) {
          await this.#written.after(seen, signal);
          continue;
        }
        await publisher.publish(messages.map(({ generation, data }) => ({ seqNo: generation, data })));
        onProgress();
        this.#reach(last.generation);
        this.#emit({ type: "published", generation: last.generation });
      }
    } finally {
      await publisher.close();
    }
  }

  #reach(generation: number): void {
    this.#published = generation;
    this.#sent.raise();
  }

  /** Applies what the others made, and acknowledges it when it is committed. */
  async #receive(signal: AbortSignal, onProgress: () => void): Promise<void> {
    const { graph, channel } = this.#options;
    for await (const batch of channel.subscribe(graph.origin, signal)) {
      if (batch.isAfterLoss === true) this.#noticeLoss();
      await this.#apply(batch.messages);
      await batch.ack();
      onProgress();
    }
  }

  async #apply(messages: readonly Uint8Array[]): Promise<number> {
    const applied = await this.#turns
      .take(() => this.#options.graph.apply(messages))
      // Also after an error: nobody knows whether it was committed.
      .finally(() => {
        this.#applied.raise();
        this.#moved.raise();
      });
    this.#counters.applied += applied.applied;
    this.#counters.duplicates += applied.duplicates;
    this.#counters.echoes += applied.echoes;
    if (applied.applied + applied.waiting > 0) {
      const { applied: batches, versions, waiting } = applied;
      this.#emit({ type: "applied", batches, versions, waiting });
    }
    return applied.applied;
  }

  #noticeLoss(): void {
    const { peers } = this.#options;
    if (peers.length === 0) {
      throw new SyncError(
        "TOO_OLD",
        "the channel no longer has messages that this site has not seen; name another site as a peer, to have them from there",
      );
    }
    for (const peer of peers) this.#behind.add(peer);
    this.#emit({ type: "too-old" });
    this.#applied.raise();
  }

  /**
   * Gets from the peers what the channel may not have any more: at the start, after a loss, and when something waits for
   * long. A peer that cannot be reached is asked again until it was, because it may be the only one that has it.
   */
  async #askPeers(signal: AbortSignal, onProgress: () => void): Promise<void> {
    const { graph, clock, peers, catchUpAfterMs } = this.#options;
    for (const peer of peers) this.#behind.add(peer);
    for (let before = new Map<string, number>(); ; ) {
      const seen = this.#applied.count;
      for (const peer of this.#behind) {
        if (await this.#catchUp(peer, signal)) this.#behind.delete(peer);
      }
      onProgress();
      const { waiting } = await graph.status();
      const now = new Map(waiting.map(({ origin, next }) => [origin, next]));
      if ([...now].some(([origin, next]) => before.get(origin) === next)) {
        for (const peer of peers) this.#behind.add(peer);
      }
      before = now;
      if (this.#behind.size === 0 && now.size === 0) await this.#applied.after(seen, signal);
      else await clock.sleep(catchUpAfterMs, { signal });
    }
  }

  /** Whether the peer gave all it had. */
  async #catchUp(peer: Peer, signal: AbortSignal): Promise<boolean> {
    for (let batches = 0; ; ) {
      const { vector } = await this.#options.graph.status();
      let messages: readonly Uint8Array[];
      try {
        messages = await peer.missing(vector, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        this.#emit({ type: "peer-failed", peer: peer.name, error });
        return false;
      }
      const applied = messages.length === 0 ? 0 : await this.#apply(messages);
      batches += applied;
      // Nothing more, or something was faster.
      if (applied > 0) continue;
      this.#counters.caughtUp += batches;
      if (batches > 0) this.#emit({ type: "caught-up", peer: peer.name, batches });
      return true;
    }
  }

  /** Takes over what was edited in the store. */
  async #ingest(store: SiteStore, signal: AbortSignal, onProgress: () => void): Promise<void> {
    const { graph } = this.#options;
    const { history, stream } = store;
    // From here on: what came before is looked for below.
    const position = await history.position();
    await this.#turns.take(() => graph.mirror(stream));
    this.#moved.raise();
    await this.#ingestAll();
    for await (const _ of history.follow(position, { stream, signal })) {
      await this.#ingestAll();
      onProgress();
    }
  }

  async #ingestAll(): Promise<void> {
    for (let isEnd = false; !isEnd; ) {
      const ingested = await this.#turns
        .take(() => this.#options.graph.ingest())
        .finally(() => {
          this.#written.raise();
          this.#applied.raise();
          this.#moved.raise();
        });
      this.#counters.ingested += ingested.versions;
      isEnd = ingested.isEnd;
    }
  }

  /** Brings the store to what is shown here. */
  async #writeStore(sink: Sink, signal: AbortSignal, onProgress: () => void): Promise<void> {
    const { graph } = this.#options;
    for (;;) {
      const seen = this.#moved.count;
      const transactions = await this.#turns.take(() => graph.storeWrites());
      for (const { writes } of transactions) {
        const result = await sink.apply(writes, signal);
        const results = writes.map(({ object, want, known }, index) => ({
          object,
          want,
          known,
          version: result.isApplied ? (result.versions[index] as string) : undefined,
        }));
        await this.#turns.take(() => graph.settle(results));
        if (result.isApplied) this.#counters.stored += writes.length;
        else this.#counters.refused += writes.length;
        onProgress();
      }
      if (transactions.length === 0) await this.#moved.after(seen, signal);
    }
  }

  async #resolve(signal: AbortSignal, onProgress: () => void): Promise<void> {
    for (;;) {
      const seen = this.#applied.count;
      await this.#resolveAll(signal);
      onProgress();
      await this.#applied.after(seen, signal);
    }
  }

  async #resolveAll(signal: AbortSignal): Promise<void> {
    const { graph } = this.#options;
    const kept = new Set<string>();
    for (let after = 0; !signal.aborted; ) {
      const group = await graph.conflictGroup(after);
      if (group === undefined) break;
      const signature = signatureOf(group);
      if (this.#kept.has(signature) || kept.has(signature)) {
        kept.add(signature);
        after = group.next;
        continue;
      }
      const edits = planResolution(group, await this.#decide(group));
      if (edits.length === 0) {
        kept.add(signature);
        after = group.next;
        continue;
      }
      // Something may have come while it was decided: then it is decided again.
      const isWritten = await this.#turns.take(async () => {
        const now = await graph.conflictGroup(group.next - 1);
        if (now === undefined || signatureOf(now) !== signature) return false;
        await graph.write(edits).finally(() => {
          this.#written.raise();
          this.#moved.raise();
        });
        return true;
      });
      if (!isWritten) continue;
      this.#counters.resolved++;
      this.#emit({ type: "resolved", keys: group.keys.length });
    }
    this.#kept = kept;
  }

  async #decide(group: ConflictGroup): Promise<Decision> {
    const { policy } = this.#options;
    if (policy === "keep") return policy;
    if (policy === "last-writer" || isAmongMerges(group)) return "last-writer";
    try {
      return await policy(group);
    } catch (error) {
      this.#counters.policyFailures++;
      this.#emit({ type: "policy-failed", error });
      return "keep";
    }
  }

  /** Runs a part until the site is over, again after what may pass. */
  async #supervise(run: (signal: AbortSignal, onProgress: () => void) => Promise<void>): Promise<void> {
    const { clock, rng, initialDelayMs, maxDelayMs } = this.#options;
    const backoff = resolveBackoff({ initialDelayMs, maxDelayMs });
    const { signal } = this.#stop;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await run(signal, () => {
          attempt = 0;
        });
      } catch (error) {
        if (signal.aborted) return;
        if (!isRetryable(error)) {
          this.#fail(toSyncError(error));
          return;
        }
        const delayMs = backoffDelayMs(backoff, "fast", attempt, rng);
        this.#counters.retries++;
        this.#problem = error instanceof Error ? error.message : String(error);
        this.#emit({ type: "retrying", error, delayMs });
        await clock.sleep(delayMs, { signal }).catch(() => undefined);
        this.#problem = undefined;
      }
    }
  }

  #fail(error: SyncError): void {
    this.#failure = error;
    this.#stop.abort(error);
    this.#emit({ type: "failed", error });
    this.#end.reject(error);
  }

  #emit(event: SiteEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

/** What a decision was made about: when it is the same, the decision is. */
function signatureOf(group: ConflictGroup): string {
  const heads = group.keys.map(
    ({ key, heads }) => `${textOf(key)}=${heads.map(({ id }) => `${id.origin}:${id.generation}`).join()}`,
  );
  return heads.sort().join("\n");
}
