import type { Timer } from "@tidemark/clock";
import {
  type Epoch,
  type FrameSink,
  GuardedSink,
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
import type { FrameBatch } from "./batch-inbox.ts";
import { type LeafCounts, DeviceState, type LeafFrame } from "./device-state.ts";
import { DeviceTransport } from "./device-transport.ts";
import { isAnswer, refusalOf, toGnmiError } from "./failure.ts";
import { Fallback } from "./fallback.ts";
import type { SubscribeRequest, SubscribeResponse } from "./gen/gnmi/gnmi_pb.ts";
import { type GnmiCapabilities, capabilitiesOf } from "./gnmi-client.ts";
import { GnmiError, retryClassOf } from "./gnmi-error.ts";
import { decodeResponse, type DeviceLink, GnmiLink } from "./gnmi-link.ts";
import type { ResolvedSource } from "./options.ts";
import { ReceiveTurn } from "./receive-turn.ts";
import { nextRunPhase, type RunEvent, type RunPhase } from "./run-state.ts";
import { subscribeRequest } from "./subscription.ts";
import type { EncodingName } from "./typed-value.ts";

/** What a handshake found out. */
export interface Session {
  readonly encoding: EncodingName;
}

type Connection = StreamConnection<SubscribeRequest, FrameBatch, Session>;

export interface GnmiRunOptions {
  readonly options: ResolvedSource;
  readonly from: ResumePoint | undefined;
  readonly sink: FrameSink;
  /** The connections that this process has counted, over all runs. */
  readonly lastConnection: number;
  /** Everything that is there is known, and handed on. */
  onSynced(): void;
  /** Does no I/O. @default a link over the network */
  openLink?(): DeviceLink;
  /** @default the one that everything on the clock has in common */
  readonly turn?: ReceiveTurn;
}

/** Leaves that are handed on before the sink is asked for room. */
const snapshotChunk = 512;

/**
 * One run of the source. Every connection is an epoch of its own, `c1`, `c2` and so on: a device cannot go on where it
 * was, so each begins with a snapshot at `sync_response`, and what happened in between is a gap.
 */
export class GnmiRun implements StreamProtocol<SubscribeRequest, FrameBatch, Session> {
  readonly name = "gnmi.subscribe";
  readonly #options: ResolvedSource;
  readonly #sink: GuardedSink;
  readonly #fallback: Fallback;
  readonly #onSynced: () => void;
  readonly #openLink: () => DeviceLink;
  readonly #turn: ReceiveTurn;
  readonly #reconnector: StreamReconnector<SubscribeRequest, FrameBatch, Session>;
  #link: DeviceLink | undefined;
  #state: DeviceState;
  #past: LeafCounts | undefined;
  #connection: number;
  /** Something was followed before, in this run or in one before it. */
  #hasPast: boolean;
  #lostBecause = "The process was not running.";
  #groups = 0;
  /** Leaves that the status has told of before `sync_response`. */
  #reported = 0;
  #phase: RunPhase = "idle";
  /** The sink has not said that it is full, since the batch began. */
  #hasRoom = true;
  /** The device tells the ends of its commits; undefined: nobody knows. */
  #tellsCommits: boolean | undefined;
  #commitTimer: Timer | undefined;
  #syncTimer: Timer | undefined;
  /** On the monotonic clock. */
  #heardMs = 0;
  #session: Session | undefined;

  constructor({ options, from, sink, lastConnection, onSynced, openLink, turn }: GnmiRunOptions) {
    this.#options = options;
    this.#turn = turn ?? ReceiveTurn.of(options.clock);
    this.#onSynced = onSynced;
    this.#openLink = openLink ?? (() => new GnmiLink(options, false));
    this.#sink = new GuardedSink(sink, sinkFailed);
    this.#fallback = new Fallback(options.subscriptions, options.mode === "stream" && options.fallbackSampleIntervalMs);
    this.#connection = Math.max(lastConnection, Number(/^c(\d{1,15})$/.exec(from?.epoch ?? "")?.[1] ?? 0));
    this.#hasPast = from !== undefined;
    this.#state = new DeviceState(options);
    this.#reconnector = new StreamReconnector(this, {
      ...options.backoff,
      ...(options.limiter !== undefined && { limiter: options.limiter }),
      clock: options.clock,
      rng: options.rng,
      handshakeTimeoutMs: options.connectTimeoutMs,
      pingIntervalMs: options.pingIntervalMs,
      pingTimeoutMs: options.pingTimeoutMs,
      silenceTimeoutMs: options.silenceTimeoutMs,
      onConnected: (connection) => this.#onConnected(connection),
      onDisconnected: (disconnect) => this.#onDisconnected(disconnect),
    });
  }

  /** How many connections were counted, those of earlier runs included. */
  get connections(): number {
    return this.#connection;
  }

  get state(): DeviceState {
    return this.#state;
  }

  /** What is known and over which connection; undefined while there is none that has told everything. */
  current(): { readonly state: DeviceState; readonly link: DeviceLink; readonly encoding: EncodingName } | undefined {
    const link = this.#link;
    if (link === undefined || this.#session === undefined || !this.#state.isSynced) return undefined;
    return { state: this.#state, link, encoding: this.#session.encoding };
  }

  get encoding(): EncodingName | undefined {
    return this.#session?.encoding;
  }

  /** In the place of `on_change`. */
  get onChangeMode() {
    return this.#fallback.mode;
  }

  counts(): LeafCounts {
    const now = this.#state.counts;
    const past = this.#past;
    if (past === undefined) return { ...now };
    const names = Object.keys(now) as (keyof LeafCounts)[];
    return Object.fromEntries(names.map((name) => [name, now[name] + past[name]])) as unknown as LeafCounts;
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
      this.#stopTimers();
    }
  }

  openTransport(): DeviceTransport {
    const { clock, mode, intervalMs, pingIntervalMs } = this.#options;
    const link = this.#openLink();
    this.#link = link;
    this.#step("connect");
    this.#sink.status({ state: "connecting", attempt: this.#reconnector.attempt + 1 });
    return new DeviceTransport({
      link,
      mode,
      wasHeard: () => clock.monotonic() - this.#heardMs < pingIntervalMs,
      pause: (signal) => clock.sleep(intervalMs, { signal, isRef: false }),
      onAlive: () => this.#heard(),
    });
  }

  async handshake(stream: Handshake<SubscribeRequest, FrameBatch>): Promise<Session> {
    const { mode, target, allowAggregation, configOnly, qos } = this.#options;
    const encoding = await this.#chooseEncoding(stream.signal);
    const request = subscribeRequest({
      subscriptions: this.#fallback.subscriptions(),
      encoding,
      mode: mode === "get" ? "once" : mode,
      target,
      allowAggregation,
      configOnly,
      ...(qos !== undefined && { qos }),
    });
    stream.send(request);
    return { encoding };
  }

  onMessage(batch: FrameBatch, connection: Connection): void | Promise<void> {
    this.#heard();
    let bytes = 0;
    for (const frame of batch) bytes += frame.length;
    return this.#turn.enter(bytes)?.then(() => this.#onTurn(batch, connection)) ?? this.#receive(batch, connection);
  }

  #onTurn(batch: FrameBatch, connection: Connection): void | Promise<void> {
    // Once the connection is gone somebody else may be writing.
    if (!connection.signal.aborted) return this.#receive(batch, connection);
    return undefined;
  }

  #receive(batch: FrameBatch, connection: Connection): void | Promise<void> {
    this.#hasRoom = true;
    for (let index = 0; index < batch.length; index++) {
      const frame = batch[index] as Uint8Array;
      if (this.#state.takeFrame(frame, this.#write)) continue;
      const response = this.#decode(frame, connection);
      const first = response.response.case === "syncResponse" && !this.#state.isSynced;
      // Rare, and long: reading waits until everything that is there was handed on.
      if (first) return this.#snapshot(connection, batch.slice(index + 1));
      this.#take(response);
    }
    if (this.#state.isSynced) {
      if (this.#phase === "grouping" && !this.#awaitsCommit(connection)) this.#commit();
    } else {
      const received = this.#state.size;
      if (received >= this.#reported + 1_000) {
        this.#reported = received;
        this.#sink.status({ state: "snapshotting", received });
      }
      this.#awaitSync(connection);
    }
    return this.#hasRoom ? undefined : this.#sink.ready(connection.signal);
  }

  classify(error: unknown): RetryClass {
    const explained = this.#explained(error);
    return this.#canAskForLess(explained) ? "fast" : retryClassOf(explained);
  }

  #onConnected(connection: Connection): void {
    this.#connection++;
    this.#step("connected");
    this.#reported = 0;
    this.#session = connection.session;
    this.#heard();
    this.#sink.status({ state: "snapshotting", received: 0 });
    this.#awaitSync(connection);
  }

  #onDisconnected({ error, attempt, delayMs }: StreamDisconnect): void {
    this.#stopTimers();
    if (this.#step(delayMs === undefined ? "ended" : "disconnected")) this.#sink.write({ type: "discard" });
    const explained = this.#explained(error);
    const canAskForLess = this.#canAskForLess(explained);
    // It refuses everything that can be asked for, so it is not the mode that it refuses.
    if (!canAskForLess && !this.#state.isSynced && explained.code === "REFUSED") this.#fallback.startOver();
    this.#past = this.counts();
    this.#state = new DeviceState(this.#options);
    if (delayMs === undefined) return;
    this.#lostBecause = explained.detail;
    const more = canAskForLess ? ` ${this.#fallback.stepDown()}` : "";
    this.#sink.status({ state: "waiting", attempt, delayMs, error: `${explained.detail}${more}` });
  }

  readonly #write = (frame: LeafFrame): void => {
    if (this.#phase !== "grouping") this.#step("changed");
    if (!this.#sink.write(frame)) this.#hasRoom = false;
  };

  /** @throws {GnmiError} `PROTOCOL`; what came before in the same batch came whole, and is kept. */
  #decode(frame: Uint8Array, connection: Connection): SubscribeResponse {
    try {
      return decodeResponse(frame, this.#options.endpoint.name);
    } catch (error) {
      if (this.#phase === "grouping" && !this.#awaitsCommit(connection)) this.#commit();
      throw error;
    }
  }

  #take(response: SubscribeResponse): void {
    switch (response.response.case) {
      case "update":
        this.#state.take(response.response.value, this.#write);
        break;
      case "syncResponse":
        // With `stream` it comes once; some devices repeat it, and it means nothing then.
        if (this.#options.mode === "stream") break;
        this.#state.endRound(this.#write);
        this.#state.beginRound();
        break;
      case "error":
        throw refusalOf(response.response.value, this.#options.endpoint.name);
      case undefined:
        break;
      default:
        response.response satisfies never;
    }
    for (const { ext } of response.extension) {
      if (ext.case !== "configSubscription" || ext.value.action.case !== "syncDone") continue;
      this.#tellsCommits = true;
      if (this.#phase === "grouping") this.#commit();
    }
  }

  /** Hands on everything that is there; then `rest`, which came in the same batch. */
  async #snapshot(connection: Connection, rest: FrameBatch): Promise<void> {
    const { signal } = connection;
    this.#syncTimer?.cancel();
    const epoch: Epoch = `c${this.#connection}`;
    if (this.#hasPast) {
      const detail = `The device cannot tell what changed while it was not followed, only how it is now. ${this.#lostBecause}`;
      this.#sink.write({ type: "gap", reason: "disconnected", detail });
    }
    this.#step("synced");
    this.#sink.write({ type: "begin-snapshot", epoch });
    let written = 0;
    let hasRoom = true;
    for (const frame of this.#state.sync()) {
      if (!this.#sink.write(frame)) hasRoom = false;
      if (++written % snapshotChunk !== 0) continue;
      this.#sink.status({ state: "snapshotting", received: written });
      if (!hasRoom) await this.#sink.ready(signal);
      // Others have something to do as well.
      else await new Promise<void>((resolve) => this.#options.clock.setImmediate(resolve));
      // Once the connection is gone somebody else may be writing.
      signal.throwIfAborted();
      hasRoom = true;
    }
    this.#groups = 0;
    const isFull = !this.#sink.write({ type: "snapshot-end", cursor: this.#nextCursor() });
    this.#step("handed-on");
    this.#hasPast = true;
    this.#state.beginRound();
    this.#sink.status({ state: "live" });
    this.#onSynced();
    if (isFull) await this.#sink.ready(signal);
    if (rest.length > 0) await this.#receive(rest, connection);
  }

  /** Whether the open group waits for the end of the device's commit. */
  #awaitsCommit(connection: Connection): boolean {
    if (!this.#options.configOnly || this.#tellsCommits === false) return false;
    this.#commitTimer ??= this.#options.clock.setTimer(this.#options.commitTimeoutMs, () => {
      this.#commitTimer = undefined;
      if (this.#phase !== "grouping" || !connection.isLive) return;
      // Does it ever? Then it is only slow, and is waited for again.
      this.#tellsCommits ??= false;
      this.#commit();
    });
    this.#commitTimer.unref();
    return true;
  }

  #commit(): void {
    this.#commitTimer?.cancel();
    this.#commitTimer = undefined;
    this.#step("committed");
    if (!this.#sink.write({ type: "commit", cursor: this.#nextCursor() })) this.#hasRoom = false;
  }

  /** Whether what was handed on has to be taken back. */
  #step(event: RunEvent): boolean {
    const [phase, isCutShort] = nextRunPhase(this.#phase, event);
    this.#phase = phase;
    return isCutShort;
  }

  #nextCursor(): string {
    return sortableInteger(BigInt(++this.#groups));
  }

  #awaitSync(connection: Connection): void {
    const { clock, syncTimeoutMs, endpoint } = this.#options;
    this.#syncTimer?.cancel();
    this.#syncTimer = clock.setTimer(syncTimeoutMs, () => {
      const what = `${endpoint.name} has sent nothing for ${syncTimeoutMs / 1000} s, and not yet everything that is there`;
      connection.fail(new GnmiError("SILENT", `${what}: is it overloaded?`));
    });
    this.#syncTimer.unref();
  }

  #stopTimers(): void {
    this.#syncTimer?.cancel();
    this.#commitTimer?.cancel();
    this.#syncTimer = undefined;
    this.#commitTimer = undefined;
  }

  async #chooseEncoding(signal: AbortSignal): Promise<EncodingName> {
    const { encoding } = this.#options;
    let known: GnmiCapabilities | undefined;
    try {
      known = await capabilitiesOf(this.#link as DeviceLink, signal);
    } catch (error) {
      // Not every device has that call or lets everybody use it, and no question of ours is worth failing for.
      if (!isAnswer(error)) throw error;
    }
    this.#heard();
    if (encoding !== "auto") return encoding;
    const order = ["proto", "json_ietf", "json"] as const;
    return order.find((name) => known?.encodings.includes(name)) ?? "json";
  }

  #heard(): void {
    this.#heardMs = this.#options.clock.monotonic();
    this.#sink.alive();
  }

  #canAskForLess(error: GnmiError): boolean {
    return !this.#state.isSynced && this.#fallback.canStepDown(error);
  }

  #explained(error: unknown): GnmiError {
    return toGnmiError(error, this.#options.endpoint);
  }
}

function sinkFailed(cause: unknown): GnmiError {
  return new GnmiError("SINK_FAILED", "the sink that takes the frames threw; its error is the cause", { cause });
}
