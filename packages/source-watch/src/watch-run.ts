import { create } from "@bufbuild/protobuf";
import type { FrameSink, ResumePoint } from "@tidemark/store-watch/contract";
import { type Handshake, type StreamConnection, type StreamProtocol, StreamReconnector } from "@tidemark/stream";
import { describeFailure, refusalOf, retryClassOf } from "./failure.ts";
import { type WatchRequest, WatchRequestSchema, type WatchResponse } from "./gen/tidemark/watch/v1/watch_pb.ts";
import { initialSourceState, nextSource, resumeMarkerOf, type SourceEvent, type SourceState } from "./source-state.ts";
import { WatchLink } from "./watch-link.ts";
import type { ResolvedWatchSource } from "./watch-source-options.ts";

type Connection = StreamConnection<WatchRequest, WatchResponse, WatchResponse>;

/** One call of `Source.run`: a reconnecting watch whose messages become frames. */
export class WatchRun implements StreamProtocol<WatchRequest, WatchResponse, WatchResponse> {
  readonly name = "tidemark.watch";
  readonly #options: ResolvedWatchSource;
  readonly #sink: FrameSink;
  readonly #reconnector: StreamReconnector<WatchRequest, WatchResponse, WatchResponse>;
  #state: SourceState;
  #link: WatchLink | undefined;

  constructor(options: ResolvedWatchSource, from: ResumePoint | undefined, sink: FrameSink) {
    this.#options = options;
    this.#sink = sink;
    this.#state = initialSourceState(from);
    this.#reconnector = new StreamReconnector(this, {
      ...options,
      // The first message is part of the handshake and comes before every other (P3).
      onConnected: (connection) => this.#begin(connection),
      onDisconnected: ({ error, attempt, delayMs = 0 }) => {
        const refusal = refusalOf(error);
        this.#apply({ type: "disconnected" });
        if (refusal !== undefined) this.#apply({ type: "refused", refusal });
        sink.status({ state: "waiting", attempt, delayMs, error: describeFailure(error, options.origin) });
      },
    });
  }

  /** It follows no more, and never will. */
  get isOver(): boolean {
    const { state } = this.#reconnector;
    return state === "closed" || state === "failed";
  }

  /** Follows until `signal` aborts. @throws `signal.reason` */
  async follow(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const onAbort = () => this.#reconnector.destroy(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#reconnector.start();
    const { error } = await this.#reconnector.done;
    signal.removeEventListener("abort", onAbort);
    signal.throwIfAborted();
    if (error !== undefined) throw error;
  }

  /** Where the store is now, in the terms of the stream that is live. @throws `signal.reason` */
  async barrier(signal: AbortSignal): Promise<ResumePoint> {
    for (;;) {
      const connection = await this.#reconnector.connected({ signal });
      const link = this.#link as WatchLink;
      try {
        const { marker } = await link.status(signal);
        if (connection.isLive) return { epoch: this.#epoch(), cursor: marker };
      } catch (error) {
        signal.throwIfAborted();
        if (connection.isLive) throw error;
      }
      // The store went away while it answered, and what is live next may be another one: ask that.
    }
  }

  openTransport(): WatchLink {
    this.#sink.status({ state: "connecting", attempt: this.#reconnector.attempt + 1 });
    this.#link = new WatchLink(this.#options.origin, this.#options);
    return this.#link;
  }

  async handshake(stream: Handshake<WatchRequest, WatchResponse>): Promise<WatchResponse> {
    const { range, progressIntervalMs } = this.#options;
    stream.send(create(WatchRequestSchema, { range, progressIntervalMs, resumeMarker: resumeMarkerOf(this.#state) }));
    return await stream.receive();
  }

  onMessage(message: WatchResponse, connection: Connection): Promise<void> | undefined {
    return this.#apply({ type: "message", message }) ? undefined : this.#sink.ready(connection.signal);
  }

  isProgress({ kind }: WatchResponse): boolean {
    return kind.case === "transactions" || kind.case === "snapshotEnd";
  }

  classify(error: unknown) {
    return retryClassOf(error);
  }

  #begin(connection: Connection): void {
    try {
      this.#apply({ type: "message", message: connection.session });
    } catch (error) {
      // As if it were any other message; a hook that throws would end the run.
      connection.fail(error);
    }
  }

  /** False: the sink is full. */
  #apply(event: SourceEvent): boolean {
    const [state, frames] = nextSource(this.#state, event);
    this.#state = state;
    if (event.type === "message") this.#sink.alive();
    let hasRoom = true;
    for (const frame of frames) hasRoom = this.#sink.write(frame);
    if (event.type === "message") this.#reportState(event.message);
    return hasRoom;
  }

  #reportState({ kind }: WatchResponse): void {
    const { snapshot } = this.#state;
    if (snapshot !== undefined) this.#sink.status({ state: "snapshotting", received: snapshot.received });
    else if (kind.case === "snapshotEnd" || kind.case === "progress") this.#sink.status({ state: "live" });
  }

  #epoch(): string {
    const { at, snapshot } = this.#state;
    const epoch = snapshot?.epoch ?? at?.epoch;
    if (epoch === undefined) throw new Error("a live stream has an epoch");
    return epoch;
  }
}
