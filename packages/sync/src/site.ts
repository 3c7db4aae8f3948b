import type {
  ConflictGroup,
  GraphApplied,
  GraphEdit,
  GraphRestored,
  GraphSnapshotPart,
  GraphWritten,
} from "@tidemark/store-watch";
import { resolveBackoff } from "@tidemark/stream";
import { CatchUp } from "./catch-up.ts";
import type { Publisher } from "./channel.ts";
import { Level } from "./level.ts";
import { type Decision, isAmongMerges, planResolution, signatureOf } from "./resolution.ts";
import {
  type ResolvedSite,
  resolveSite,
  type SiteOptions,
  type SiteRetention,
  type SiteStore,
} from "./site-options.ts";
import type { SiteCounters, SiteEvent, SiteStatus } from "./site-status.ts";
import type { Site, SiteEdit } from "./site-types.ts";
import { writeStore } from "./store-writer.ts";
import { type Part, type PartSigns, Supervisor } from "./supervisor.ts";
import { SyncError, toSyncError } from "./sync-error.ts";
import { Turns } from "./turns.ts";

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

/** How often a store is looked at whose stream brings nothing. */
const lookAgainMs = 10_000;

class RunningSite implements Site {
  readonly #options: ResolvedSite;
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
    bootstraps: 0,
    pruned: 0,
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
  readonly #catchUp: CatchUp;
  #heldBy: readonly string[] = [];
  #published = 0;
  readonly #supervisor: Supervisor;
  #failure: SyncError | undefined;
  #loops: Promise<unknown> = Promise.resolve();

  constructor(options: SiteOptions) {
    this.#options = resolveSite(options);
    const { graph, peers, catchUpAfterMs, clock, rng, initialDelayMs, maxDelayMs } = this.#options;
    this.#supervisor = new Supervisor({
      tenure: graph.tenure,
      turns: this.#turns,
      backoff: resolveBackoff({ initialDelayMs, maxDelayMs }),
      clock,
      rng,
      onRetry: (error, delayMs) => {
        this.#counters.retries++;
        this.#emit({ type: "retrying", error, delayMs });
      },
      onTrouble: (error) => this.#emit({ type: "disconnected", error }),
      onLost: (error) => this.#emit({ type: "lost", error }),
      onResumed: () => this.#emit({ type: "resumed" }),
      onFailed: (error) => this.#fail(toSyncError(error)),
    });
    this.#catchUp = new CatchUp({
      graph,
      peers,
      catchUpAfterMs,
      clock,
      applied: this.#applied,
      apply: (messages) => this.#apply(messages),
      restore: (part) => this.#restore(part),
      emit: (event) => this.#emit(event),
    });
    this.#end.promise.catch(() => undefined);
  }

  get origin(): string {
    return this.#options.graph.origin;
  }

  get closed(): Promise<void> {
    return this.#end.promise;
  }

  start(): void {
    const { store, graph, peers } = this.#options;
    const sink = store?.sink;
    const ingest = () => this.#ingestAll();
    const writer = { graph, turns: this.#turns, moved: this.#moved, counters: this.#counters, ingest };
    const parts: Part[] = [];
    if (store !== undefined) parts.push((signal, signs) => this.#ingest(store, signal, signs));
    if (sink !== undefined) parts.push((signal, signs) => writeStore({ ...writer, sink }, signal, signs));
    parts.push(
      (signal, signs) => this.#publish(signal, signs),
      (signal, signs) => this.#receive(signal, signs),
      (signal, signs) => this.#resolve(signal, signs),
    );
    // What waits without peers does so for the channel.
    if (peers.length > 0) parts.push((signal, signs) => this.#catchUp.run(signal, signs.onProgress));
    parts.push((signal, signs) => this.#upkeep(signal, signs));
    this.#loops = this.#supervisor.run(parts, this.#stop.signal);
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
    const { vector, horizon, waiting, conflicts } = await this.#options.graph.status();
    const isOver = this.#stop.signal.aborted;
    const { problem } = this.#supervisor;
    const state = this.#failure !== undefined ? "failed" : isOver ? "closed" : problem ? "retrying" : "running";
    return {
      state,
      problem: this.#failure?.message ?? problem,
      behind: this.#catchUp.behind,
      origin: this.origin,
      vector,
      horizon,
      heldBy: this.#heldBy,
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

  async snapshot(after: string | undefined): Promise<GraphSnapshotPart> {
    this.#stop.signal.throwIfAborted();
    return this.#options.graph.snapshot(after);
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
  async #publish(signal: AbortSignal, { onProgress, onHealthy, onTrouble }: PartSigns): Promise<void> {
    const { graph, channel, maxPublishBytes } = this.#options;
    const signs = { onConnected: onHealthy, onDisconnected: onTrouble };
    const publisher: Publisher = await channel.openPublisher(graph.origin, signal, signs);
    try {
      onHealthy();
      const { vector, horizon } = await graph.status();
      const own = vector[graph.origin] ?? 0;
      if (publisher.lastSeqNo > own) {
        throw new SyncError(
          "REWOUND",
          `the channel has change ${publisher.lastSeqNo} of this site (${graph.origin}), whose history ends at ${own}: it was ` +
            "restored from a backup, or lost its last commits. Start with a new history, which takes everything from the others",
        );
      }
      // What was pruned does not go over the channel any more, should that have been made anew.
      this.#reach(Math.max(publisher.lastSeqNo, horizon[graph.origin] ?? 0));
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
  async #receive(signal: AbortSignal, { onProgress, onHealthy, onTrouble }: PartSigns): Promise<void> {
    const { graph, channel } = this.#options;
    const signs = { onConnected: onHealthy, onDisconnected: onTrouble };
    for await (const batch of channel.subscribe(graph.origin, signal, signs)) {
      if (batch.isAfterLoss === true) this.#catchUp.noticeLoss();
      await this.#apply(batch.messages);
      await batch.ack();
      onProgress();
    }
  }

  async #apply(messages: readonly Uint8Array[]): Promise<GraphApplied> {
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
    return applied;
  }

  async #restore(part: Uint8Array): Promise<GraphRestored> {
    return this.#turns
      .take(() => this.#options.graph.restore(part, { published: this.#published }))
      .finally(() => {
        this.#applied.raise();
        this.#moved.raise();
      });
  }

  /** Says what is here, and removes what nobody needs any more. */
  async #upkeep(signal: AbortSignal, { onProgress }: PartSigns): Promise<void> {
    const { graph, clock, retention, upkeepMs } = this.#options;
    for (;;) {
      await clock.sleep(upkeepMs, { signal });
      await this.#turns.take(() => graph.announce()).finally(() => this.#written.raise());
      if (retention !== undefined) await this.#prune(retention);
      onProgress();
    }
  }

  async #prune({ keepMs, holdMs }: Required<SiteRetention>): Promise<void> {
    const { graph, clock } = this.#options;
    const now = clock.now();
    const options = { beforeMs: now - keepMs, holdSinceMs: now - holdMs, published: this.#published };
    let versions = 0;
    for (let isEnd = false; !isEnd; ) {
      // A piece at a time: what comes meanwhile has its turn in between.
      const pruned = await this.#turns.take(() => graph.prune(options));
      versions += pruned.removed;
      this.#counters.pruned += pruned.removed;
      this.#heldBy = pruned.heldBy;
      isEnd = pruned.isEnd;
    }
    if (versions > 0) this.#emit({ type: "pruned", versions, heldBy: this.#heldBy });
  }

  /** Takes over what was edited in the store. */
  async #ingest(store: SiteStore, signal: AbortSignal, { onProgress }: PartSigns): Promise<void> {
    const { graph, clock } = this.#options;
    const { history, stream } = store;
    await this.#turns.take(() => graph.mirror(stream));
    // Somebody wrote here who does not any more, and nobody will ask.
    if (store.sink === undefined) await this.#turns.take(() => graph.lose(undefined));
    this.#moved.raise();
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const follow = async () => {
      for (;;) {
        const position = await history.position();
        await this.#ingestAll();
        onProgress();
        // Something came after: what it is the graph reads for itself.
        for await (const _ of history.follow(position, { stream, limit: 1, signal: both })) break;
      }
    };
    // A cursor that moves without versions tells nobody, and may be what a refused write waits for.
    const look = async () => {
      for (;;) {
        await clock.sleep(lookAgainMs, { signal: both });
        await this.#ingestAll();
      }
    };
    await Promise.all([follow(), look()]).finally(() => stop.abort(signal.reason));
  }

  async #ingestAll(): Promise<void> {
    for (let isEnd = false; !isEnd; ) {
      // After an error nobody knows what was committed.
      let versions: number | undefined;
      try {
        ({ versions, isEnd } = await this.#turns.take(() => this.#options.graph.ingest()));
        this.#counters.ingested += versions;
      } finally {
        if (versions !== 0) {
          this.#written.raise();
          this.#applied.raise();
        }
        // Also where nothing came of it: a write that was refused may be tried again.
        this.#moved.raise();
      }
    }
  }

  async #resolve(signal: AbortSignal, { onProgress }: PartSigns): Promise<void> {
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

  #fail(error: SyncError): void {
    this.#failure = error;
    this.#stop.abort(error);
    this.#emit({ type: "failed", error });
    this.#end.reject(error);
  }

  #emit(event: SiteEvent): void {
    if (event.type === "caught-up") this.#counters.caughtUp += event.batches;
    if (event.type === "bootstrapped") this.#counters.bootstraps++;
    for (const listener of this.#listeners) listener(event);
  }
}
