import {
  type Epoch,
  type FrameSink,
  type GapFrame,
  GuardedSink,
  parseSortableInteger,
  type ResumePoint,
  sortableInteger,
} from "@tidemark/store-watch/contract";
import {
  type Handshake,
  type RetryClass,
  type StreamConnection,
  type StreamDisconnect,
  type StreamProtocol,
  StreamReconnector,
} from "@tidemark/stream";
import { EtcdError, retryClassOf } from "./etcd-error.ts";
import { EtcdLink } from "./etcd-link.ts";
import { refusalOf, toEtcdError } from "./failure.ts";
import { Follower } from "./follower.ts";
import type { ResponseHeader, WatchRequest, WatchResponse } from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import type { ResolvedOptions } from "./options.ts";
import { serverTraits } from "./server-version.ts";
import { loadSnapshot } from "./snapshot.ts";
import { examineStore, type StoreExamination } from "./store-examination.ts";
import { formatEpoch, parseEpoch, type StoreIdentity, unknownStore } from "./store-identity.ts";
import { createWatch } from "./watch-requests.ts";
import { WatchState } from "./watch-state.ts";
import { WatchTransport } from "./watch-transport.ts";

/** One connection that has told who it leads to. */
interface Visit {
  readonly link: EtcdLink;
  readonly store: StoreExamination;
  /** The watch that stands already; undefined: a snapshot comes first. */
  readonly watchId: bigint | undefined;
}

type Connection = StreamConnection<WatchRequest, WatchResponse, Visit>;

/** The watch stands, on this link and in this epoch. */
export interface LiveRun {
  readonly link: EtcdLink;
  readonly epoch: Epoch;
  /** Makes sure that a frame at or past this revision comes. */
  want(revision: bigint): void;
}

export interface EtcdRunOptions {
  readonly options: ResolvedOptions;
  readonly from: ResumePoint | undefined;
  readonly sink: FrameSink;
  /** Somebody waits for a frame at or past this revision. */
  readonly wanted: bigint;
  /** Told when the watch stands, and with undefined when it fell. */
  onLive(live: LiveRun | undefined): void;
}

/** A page of small keys has many of them, because etcd 3.4 counts all the keys to come for every page. */
const pages = { firstKeys: 20, maxKeys: 8_192, targetBytes: 4 << 20 };

/** One run of the source: what to do after every connect, and what was lost. */
export class EtcdRun implements StreamProtocol<WatchRequest, WatchResponse, Visit> {
  readonly name = "etcd.watch";
  readonly #options: ResolvedOptions;
  readonly #sink: GuardedSink;
  readonly #onLive: (live: LiveRun | undefined) => void;
  readonly #reconnector: StreamReconnector<WatchRequest, WatchResponse, Visit>;
  #attempts = 0;
  /** The link of the newest connection; those before it are closed. */
  #link: EtcdLink | undefined;
  #identity: StoreIdentity | undefined;
  /** Undefined until there is something to go on from. */
  #state: WatchState | undefined;
  #needsSnapshot: boolean;
  /** What the next snapshot has to tell before it begins. */
  #loss: { readonly gap: GapFrame; readonly isNewStore: boolean } | undefined;
  #isSnapshotOpen = false;
  /**
   * Whether etcd splits the responses of this connection's watch into fragments, and the next one's. It holds a whole
   * response in memory twice, and takes time by the square of the events to split one (5 s for 100,000 small ones): so it
   * is asked to once a whole response was large and its events were, too.
   */
  #isInFragments = false;
  #needsFragments = false;
  #follower: Follower | undefined;
  #wanted: bigint;

  constructor({ options, from, sink, wanted, onLive }: EtcdRunOptions) {
    this.#options = options;
    this.#sink = new GuardedSink(sink, sinkFailed);
    this.#wanted = wanted;
    this.#onLive = onLive;
    this.#identity = from === undefined ? undefined : (parseEpoch(from.epoch) ?? unknownStore);
    this.#state = from === undefined ? undefined : new WatchState(parseSortableInteger(from.cursor));
    this.#needsSnapshot = from === undefined;
    this.#reconnector = new StreamReconnector(this, {
      ...options.backoff,
      ...(options.limiter === undefined ? {} : { limiter: options.limiter }),
      clock: options.clock,
      rng: options.rng,
      handshakeTimeoutMs: options.connectTimeoutMs,
      onConnected: (connection) => this.#onConnected(connection),
      onDisconnected: (disconnect) => this.#onDisconnected(disconnect),
    });
  }

  /**
   * Follows until the signal aborts.
   *
   * @throws what the sink threw; `signal.reason`.
   */
  async execute(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const onAbort = () => this.#reconnector.destroy(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      this.#reconnector.start();
      const { error } = await this.#reconnector.done;
      signal.throwIfAborted();
      throw this.#sink.errorOf(error);
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#unfollow();
    }
  }

  openTransport(): WatchTransport {
    const { endpoints, tls, tokens, clock, requestTimeoutMs, maxMessageBytes, windowBytes } = this.#options;
    const endpoint = endpoints[this.#attempts++ % endpoints.length] ?? endpoints[0];
    const link = new EtcdLink({ endpoint, tls, tokens, clock, requestTimeoutMs, maxMessageBytes, windowBytes });
    this.#link = link;
    this.#isInFragments = this.#needsFragments;
    this.#needsFragments = false;
    this.#sink.status({ state: "connecting", attempt: this.#reconnector.attempt + 1 });
    return new WatchTransport(link);
  }

  async handshake(stream: Handshake<WatchRequest, WatchResponse>): Promise<Visit> {
    const link = this.#link as EtcdLink;
    const { range } = this.#options;
    const { cursor = 0n, anchor } = this.#state ?? {};
    const known = this.#identity === undefined ? undefined : { identity: this.#identity, cursor, anchor };
    const store = await examineStore(link, range, known, stream.signal);
    if (store.replacedBecause !== undefined) this.#replaced(store.replacedBecause, cursor);
    if (this.#state === undefined || this.#needsSnapshot) return { link, store, watchId: undefined };
    stream.send(createWatch(range, cursor, this.#isInFragments));
    return { link, store, watchId: this.#watchIdOf(await stream.receive(), cursor) };
  }

  onMessage(message: WatchResponse, connection: Connection): void | Promise<void> {
    this.#sink.alive();
    const { header } = message;
    if (header !== undefined && header.clusterId !== connection.session.store.clusterId) {
      throw this.#clusterChanged();
    }
    const state = this.#state;
    // Without a watch there is nothing but what belonged to the last one.
    if (state === undefined || this.#needsSnapshot) return undefined;
    if (message.created) return this.#follow(connection, state, this.#watchIdOf(message, state.cursor));
    if (message.canceled) return this.#canceled(message, connection, state.cursor);
    return this.#follower?.take(message);
  }

  isProgress(message: WatchResponse): boolean {
    return !message.created && !message.canceled && message.events.length === 0;
  }

  classify(error: unknown): RetryClass {
    const explained = this.#explained(error);
    return this.#isTooLargeWhole(explained) ? "fast" : retryClassOf(explained);
  }

  #onConnected(connection: Connection): void {
    const { watchId } = connection.session;
    const state = this.#state;
    if (state !== undefined && watchId !== undefined) this.#follow(connection, state, watchId);
    else void this.#snapshot(connection);
  }

  #onDisconnected({ error, attempt, delayMs }: StreamDisconnect): void {
    this.#unfollow();
    if (this.#isSnapshotOpen) this.#sink.write({ type: "discard" });
    this.#isSnapshotOpen = false;
    this.#state?.break((frame) => this.#sink.write(frame));
    if (delayMs === undefined) return;
    const explained = this.#explained(error);
    this.#needsFragments = this.#isTooLargeWhole(explained);
    const more = this.#needsFragments ? " Asking for it in fragments." : "";
    this.#sink.status({ state: "waiting", attempt, delayMs, error: `${explained.detail}${more}` });
  }

  #follow(connection: Connection, state: WatchState, watchId: bigint): void {
    const { link, store } = connection.session;
    const traits = serverTraits(store.version);
    const [sink, options, wanted, isInFragments] = [this.#sink, this.#options, this.#wanted, this.#isInFragments];
    const follower = new Follower({ connection, link, traits, watchId, isInFragments, state, sink, options, wanted });
    this.#follower = follower;
    this.#sink.status({ state: "live" });
    this.#onLive({
      link,
      epoch: formatEpoch(this.#identity ?? unknownStore),
      want: (revision) => {
        if (revision > this.#wanted) this.#wanted = revision;
        follower.want(revision);
      },
    });
  }

  #unfollow(): void {
    this.#follower?.stop();
    this.#follower = undefined;
    this.#onLive(undefined);
  }

  /** etcd ended the watch and nothing else: the connection goes on. */
  #canceled(message: WatchResponse, connection: Connection, cursor: bigint): void {
    const { compactRevision } = message;
    if (compactRevision === 0n) throw refusalOf(message.cancelReason, connection.session.link);
    this.#unfollow();
    this.#state?.break((frame) => this.#sink.write(frame));
    const detail =
      `etcd has compacted its history up to revision ${compactRevision}, and we had followed it to ${cursor} only: ` +
      "what happened in between is unknown, but for its outcome.";
    const [from, to] = [sortableInteger(cursor), sortableInteger(compactRevision)];
    this.#lost({ type: "gap", reason: "compacted", detail, from, to }, false);
    void this.#snapshot(connection);
  }

  #replaced(reason: string, cursor: bigint): void {
    const detail = `${reason} It is followed anew, as another store.`;
    const from = cursor === 0n ? undefined : sortableInteger(cursor);
    this.#lost({ type: "gap", reason: "epoch-changed", detail, from }, true);
  }

  #lost(gap: GapFrame, isNewStore: boolean): void {
    this.#needsSnapshot = true;
    // Of several losses before a snapshot the first says from where on; a new store outweighs the rest.
    if (this.#loss === undefined || (isNewStore && !this.#loss.isNewStore)) this.#loss = { gap, isNewStore };
  }

  /** Never rejects: what fails ends the connection. */
  async #snapshot(connection: Connection): Promise<void> {
    const { link } = connection.session;
    const { range } = this.#options;
    const { signal } = connection;
    try {
      const begin = (header: ResponseHeader) => this.#beginSnapshot(header, connection.session);
      const { revision, anchor } = await loadSnapshot({ link, range, sink: this.#sink, signal, limits: pages, begin });
      this.#isSnapshotOpen = false;
      this.#needsSnapshot = false;
      this.#state = new WatchState(revision, anchor);
      connection.send(createWatch(range, revision, this.#isInFragments));
    } catch (error) {
      connection.fail(error);
    }
  }

  #beginSnapshot({ clusterId, revision }: ResponseHeader, { store }: Visit): Epoch {
    if (clusterId !== store.clusterId) throw this.#clusterChanged();
    const loss = this.#loss;
    if (this.#identity === undefined || loss?.isNewStore) {
      const generation = this.#identity === undefined ? 0 : this.#identity.generation + 1;
      const idleEntries = store.appliedIndex === undefined ? undefined : store.appliedIndex - revision;
      this.#identity = { clusterId, generation, idleEntries };
      // Neither its cursor nor what anybody waits for means anything here.
      this.#state = undefined;
      if (loss !== undefined) this.#wanted = 0n;
    }
    const epoch = formatEpoch(this.#identity);
    this.#loss = undefined;
    if (loss !== undefined) this.#sink.write(loss.gap);
    if (loss?.isNewStore) this.#sink.write({ type: "reset", epoch });
    this.#isSnapshotOpen = true;
    return epoch;
  }

  #watchIdOf(message: WatchResponse, cursor: bigint): bigint {
    const { created, canceled, cancelReason, watchId, header } = message;
    const link = this.#link as EtcdLink;
    const { name } = link.endpoint;
    if (canceled) throw refusalOf(cancelReason, link);
    if (!created) throw new EtcdError("PROTOCOL", `${name} did not answer the request for a watch with one`);
    if (header !== undefined && header.revision < cursor) {
      throw new EtcdError(
        "UNAVAILABLE",
        `${name} is at revision ${header.revision}, and we are at ${cursor}: it lags behind its cluster`,
      );
    }
    return watchId;
  }

  #isTooLargeWhole(error: EtcdError): boolean {
    return error.code === "TOO_LARGE" && !this.#isInFragments;
  }

  #clusterChanged(): EtcdError {
    const name = this.#link?.endpoint.name;
    return new EtcdError("CLUSTER_CHANGED", `${name} leads to another cluster than a moment ago; connecting anew`);
  }

  #explained(error: unknown): EtcdError {
    return toEtcdError(error, this.#link ?? { endpoint: this.#options.endpoints[0], hasAnswered: false });
  }
}

function sinkFailed(cause: unknown): EtcdError {
  return new EtcdError("SINK_FAILED", "the sink that takes the frames threw; its error is the cause", { cause });
}
