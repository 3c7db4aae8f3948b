// A server that does exactly what a test says, on a simulated clock.

import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { createMemoryServer, type MemoryPeer } from "@tidemark/stream/testing";
import { openReader, type Reader, type ReaderOptions } from "@tidemark/topic-reader";
import type { StatusCode } from "@tidemark/topic/internal";
import { clientMessage, payload, type ServerMessage, serverFrame } from "./frames.ts";
import { simClient } from "./sim-client.ts";

type Peer = MemoryPeer<Uint8Array, Uint8Array>;
type ClientMessage = ReturnType<typeof clientMessage>;
type ClientCase = NonNullable<ClientMessage["case"]>;
type ValueOf<C extends ClientCase> = Extract<ClientMessage, { case: C }>["value"];

interface ScriptedMessage {
  readonly offset: number;
  readonly data?: Uint8Array;
}

class Script {
  /** What the clients said, on all streams. */
  readonly heard: ClientMessage[] = [];
  readonly memory = createMemoryServer<Uint8Array, Uint8Array>({ onStream: (peer) => this.#serve(peer) });
  /** Whether a stream's init is answered. */
  greets = true;
  /** Called with every message of a client, for servers that answer. */
  onHeard: (message: ClientMessage) => void = () => {};
  #peer: Peer | undefined;
  #granted = 0;
  #sent = 0;

  /** Said on the newest stream. */
  get available(): number {
    return this.#granted - this.#sent;
  }

  all<C extends ClientCase>(kind: C): ValueOf<C>[] {
    return this.heard.filter((message) => message.case === kind).map((message) => message.value as ValueOf<C>);
  }

  /** Every range that was committed, as text. */
  get commits(): string[] {
    return this.all("commitOffsetRequest").flatMap(({ commitOffsets }) =>
      commitOffsets.flatMap(({ partitionSessionId, offsets }) =>
        offsets.map(({ start, end }) => `${partitionSessionId}:[${start}, ${end})`),
      ),
    );
  }

  get startAnswers(): ValueOf<"startPartitionSessionResponse">[] {
    return this.all("startPartitionSessionResponse");
  }

  get stopAnswers(): number[] {
    return this.all("stopPartitionSessionResponse").map((each) => Number(each.partitionSessionId));
  }

  say(message: ServerMessage): void {
    this.raw(serverFrame(message));
  }

  raw(frame: Uint8Array): void {
    this.#peer?.send(frame);
  }

  start(
    id: number,
    partitionId: number,
    at: { topic?: string; committed?: number; first?: number; end?: number } = {},
  ) {
    const { topic = "/local/a", committed = 0, first = 0, end = 1_000 } = at;
    this.say({
      case: "startPartitionSessionRequest",
      value: {
        partitionSession: { partitionSessionId: BigInt(id), path: topic, partitionId: BigInt(partitionId) },
        committedOffset: BigInt(committed),
        partitionOffsets: { start: BigInt(first), end: BigInt(end) },
      },
    });
  }

  data(id: number, messages: readonly (number | ScriptedMessage)[], { bytes = 100, codec = 1 } = {}): void {
    const messageData = messages.map((each) => {
      const { offset, data } = typeof each === "number" ? { offset: each, data: undefined } : each;
      return { offset: BigInt(offset), seqNo: BigInt(offset + 1), data: data ?? payload(`${id}:${offset}`) };
    });
    this.#sent += bytes;
    this.say({
      case: "readResponse",
      value: {
        bytesSize: BigInt(bytes),
        partitionData: [{ partitionSessionId: BigInt(id), batches: [{ producerId: "producer", codec, messageData }] }],
      },
    });
  }

  /** Bytes of a response that `say` sent. */
  charge(bytes: number): void {
    this.#sent += bytes;
  }

  acknowledge(id: number, committed: number): void {
    this.say({
      case: "commitOffsetResponse",
      value: {
        partitionsCommittedOffsets: [{ partitionSessionId: BigInt(id), committedOffset: BigInt(committed) }],
      },
    });
  }

  stop(id: number, graceful: boolean, committed = 0): void {
    this.say({
      case: "stopPartitionSessionRequest",
      value: { partitionSessionId: BigInt(id), graceful, committedOffset: BigInt(committed) },
    });
  }

  end(id: number, childPartitionIds: readonly number[]): void {
    this.say({
      case: "endPartitionSession",
      value: { partitionSessionId: BigInt(id), childPartitionIds: childPartitionIds.map(BigInt) },
    });
  }

  cut(): void {
    this.#peer?.fail(new Error("the connection broke"));
  }

  refuse(status: StatusCode, issue: string): void {
    this.raw(serverFrame({ case: undefined }, status, issue));
    this.#peer?.end();
  }

  async #serve(peer: Peer): Promise<void> {
    this.#peer = peer;
    this.#granted = 0;
    this.#sent = 0;
    for await (const frame of peer.received) {
      const message = clientMessage(frame);
      this.heard.push(message);
      if (message.case === "initRequest" && this.greets) {
        this.say({ case: "initResponse", value: { sessionId: `stream-${peer.id}` } });
      }
      if (message.case === "readRequest") this.#granted += Number(message.value.bytesSize);
      this.onHeard(message);
    }
    peer.end();
  }
}

export interface World {
  readonly simulation: Simulation;
  readonly clock: Simulation["clock"];
  readonly server: Script;
  /** Lets everything that is due happen. */
  readonly settle: () => Promise<void>;
  readonly pass: (ms: number) => Promise<void>;
  /** What `open` opens with. */
  readonly options: (options?: Partial<ReaderOptions>) => ReaderOptions;
  readonly open: (options?: Partial<ReaderOptions>) => Promise<Reader>;
  /** What became of the promises given to it. */
  readonly outcome: (promise: Promise<unknown>) => { readonly state: string; readonly error: unknown };
}

/** Virtual time goes on only in `settle` and `pass`. */
export function world(token: () => string | undefined = () => undefined): World {
  const simulation = createSimulation({ seed: 1 });
  const { clock, rng } = simulation;
  const server = new Script();
  const options = (extra: Partial<ReaderOptions> = {}): ReaderOptions =>
    ({
      client: simClient(server.memory, token),
      topics: "/local/a",
      consumer: "consumer",
      clock,
      rng,
      ...extra,
    }) as ReaderOptions;
  return {
    simulation,
    clock,
    server,
    options,
    settle: () => simulation.settle(),
    pass: (ms) => simulation.advance(ms),
    async open(extra) {
      const opening = openReader(options(extra));
      opening.catch(() => {});
      await simulation.settle();
      return opening;
    },
    outcome(promise) {
      const outcome = { state: "pending", error: undefined as unknown };
      promise.then(
        () => (outcome.state = "resolved"),
        (error: unknown) => {
          outcome.state = "rejected";
          outcome.error = error;
        },
      );
      return outcome;
    },
  };
}
