// A topic in memory that speaks real frames, with faults drawn from a seed. It is written from the specification, with
// protobuf-es, and shares no code with the writer.

import type { Clock, Rng } from "@tidemark/clock";
import { createMemoryServer, type MemoryPeer, type MemoryServer } from "@tidemark/stream/testing";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type PartitionDescription, type TopicClient, type TopicDescription, TopicError } from "@tidemark/topic";
import { classifyError, StatusCode as Status, topicWire } from "@tidemark/topic/internal";

const { StreamWriteMessage_FromClientSchema, StreamWriteMessage_FromServerSchema } = topicWire;

/** A connection that is gone. */
export const lost = () => new TopicError("TRANSPORT", "the connection was reset", { retryClass: "fast" });

export interface ModelMessage {
  /** Its place among all messages of the topic, in the order in which they came. */
  readonly arrival: number;
  readonly producerId: string;
  readonly seqNo: bigint;
  readonly data: string;
  readonly codec: number;
  readonly createdAtMs: number;
  readonly metadata: ReadonlyMap<string, string>;
  readonly sessionMeta: Readonly<Record<string, string>>;
}

export interface ModelPartition {
  readonly partitionId: bigint;
  isActive: boolean;
  readonly parents: bigint[];
  readonly children: bigint[];
  from: Uint8Array | undefined;
  to: Uint8Array | undefined;
  nodeId: number;
  generation: bigint;
  readonly log: ModelMessage[];
  /** The last number of each producer. */
  readonly last: Map<string, bigint>;
}

/** How likely, from 0 to 1, each fault is where it can happen. */
export interface Faults {
  /** A stream is refused before or after its init. */
  readonly refuse: number;
  /** A handshake is never answered. */
  readonly hang: number;
  /** A stream is accepted and dropped at once. */
  readonly drop: number;
  /** Before a request is stored. */
  readonly cutBefore: number;
  /** After a request is stored and before it is acknowledged. */
  readonly cutAfter: number;
  /** An acknowledgement is sent twice, which breaks the protocol. */
  readonly duplicate: number;
  /** An acknowledgement is sent in several parts. */
  readonly divide: number;
  /** Acknowledgements wait for the next one and go together. */
  readonly merge: number;
  /** Longest wait before an answer. */
  readonly delayMs: number;
}

export const noFaults: Faults = {
  refuse: 0,
  hang: 0,
  drop: 0,
  cutBefore: 0,
  cutAfter: 0,
  duplicate: 0,
  divide: 0,
  merge: 0,
  delayMs: 0,
};

type Peer = MemoryPeer<Uint8Array, Uint8Array>;
type Ack = { readonly seqNo: bigint; readonly offset: bigint | undefined };

export interface ModelTopicOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly faults?: Faults;
  readonly partitions?: number;
  readonly hasRanges?: boolean;
  readonly codecs?: readonly number[];
  /** Whether a session can be opened on a partition that was split. */
  readonly opensInactive?: boolean;
}

export class ModelTopic {
  readonly server: MemoryServer<Uint8Array, Uint8Array>;
  readonly partitions: ModelPartition[] = [];
  readonly tokens: string[] = [];
  /** Every write request, in the order in which they came. */
  readonly requests: { readonly stream: number; readonly seqNos: readonly bigint[] }[] = [];
  readonly inits: { readonly stream: number; readonly nodeId: number | undefined; readonly partitioning: string }[] =
    [];
  /** The last number that each stream was told. */
  readonly told = new Map<number, bigint>();
  faults: Faults;
  token = "token 1";
  /** Streams with another token end with UNAUTHENTICATED, as does a request on them. */
  validTokens: ReadonlySet<string> | undefined;
  describes = 0;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #options: ModelTopicOptions;
  /** The highest number of streams that one producer had open at once. */
  maxOpen = 0;
  #arrivals = 0;
  readonly #open = new Map<string, number>();
  readonly #bound = new Map<string, bigint>();

  constructor(options: ModelTopicOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#rng = options.rng;
    this.faults = options.faults ?? noFaults;
    const count = options.partitions ?? 1;
    for (let n = 0; n < count; n++) {
      const [from, to] = options.hasRanges === true ? [bound(n, count), bound(n + 1, count)] : [undefined, undefined];
      this.#add([], from, to);
    }
    this.server = createMemoryServer<Uint8Array, Uint8Array>({ onStream: (peer) => this.#serve(peer) });
  }

  get client(): Pick<TopicClient, "stream" | "token" | "classify" | "describeTopic"> {
    return {
      stream: (_, { nodeId } = {}) => {
        const transport = this.server.openTransport();
        return {
          ...transport,
          start: (outgoing) => {
            this.#nodeIds.set(this.server.started + 1, nodeId);
            return transport.start(outgoing);
          },
        };
      },
      token: () => Promise.resolve(this.token),
      classify: classifyError,
      describeTopic: async (_, { location, signal } = {}) => {
        this.describes++;
        await this.#clock.sleep(this.#rng.float() * this.faults.delayMs, signal === undefined ? {} : { signal });
        if (this.#happens(this.faults.refuse)) throw lost();
        const partitions = this.partitions.map((partition) => this.#describe(partition, location === true));
        return { partitions } as unknown as TopicDescription;
      },
    };
  }

  /** One more partition, where they have no ranges. */
  grow(): void {
    this.#add([], undefined, undefined);
  }

  /** Splits a partition in the middle of its range. */
  split(partitionId: bigint): void {
    const parent = this.partitions.find((partition) => partition.partitionId === partitionId) as ModelPartition;
    parent.isActive = false;
    const middle = between(parent.from, parent.to);
    parent.children.push(this.#add([partitionId], parent.from, middle).partitionId);
    parent.children.push(this.#add([partitionId], middle, parent.to).partitionId);
  }

  /** Everything in the topic, in the order of each partition. */
  get messages(): readonly ModelMessage[] {
    return this.partitions.flatMap(({ log }) => log);
  }

  readonly #nodeIds = new Map<number, number | undefined>();

  #describe(partition: ModelPartition, hasLocation: boolean): PartitionDescription {
    const { partitionId, isActive, parents, children, from, to, nodeId, generation } = partition;
    return {
      partitionId,
      isActive,
      parents: [...parents],
      children: [...children],
      keyRange: this.#options.hasRanges === true ? { from, to } : undefined,
      stats: undefined,
      location: hasLocation ? { nodeId, generation } : undefined,
    };
  }

  #add(parents: bigint[], from: Uint8Array | undefined, to: Uint8Array | undefined): ModelPartition {
    const partitionId = BigInt(this.partitions.length);
    const partition: ModelPartition = {
      partitionId,
      isActive: true,
      parents,
      children: [],
      from,
      to,
      nodeId: 1 + (this.partitions.length % 3),
      generation: 1n,
      log: [],
      last: new Map(),
    };
    this.partitions.push(partition);
    return partition;
  }

  #happens(likelihood: number): boolean {
    return likelihood > 0 && this.#rng.float() < likelihood;
  }

  #pause(peer: Peer): Promise<void> {
    const delayMs = this.faults.delayMs === 0 ? 0 : this.#rng.float() ** 3 * this.faults.delayMs;
    return this.#clock.sleep(delayMs, { signal: peer.signal }).catch(() => {});
  }

  #reply(peer: Peer, serverMessage: object): void {
    const message = { status: Status.SUCCESS, serverMessage };
    peer.send(
      toBinary(StreamWriteMessage_FromServerSchema, create(StreamWriteMessage_FromServerSchema, message as never)),
    );
  }

  #refuse(peer: Peer, status: number, text: string): void {
    const message = { status, issues: [{ message: text }] };
    peer.send(
      toBinary(StreamWriteMessage_FromServerSchema, create(StreamWriteMessage_FromServerSchema, message as never)),
    );
    peer.end();
  }

  #cut(peer: Peer): void {
    if (this.#happens(0.3))
      this.#refuse(peer, this.#rng.pick([Status.UNAVAILABLE, Status.SESSION_EXPIRED, Status.OVERLOADED]), "cut");
    else if (this.#happens(0.5)) peer.end();
    else peer.fail(lost());
  }

  async #serve(peer: Peer): Promise<void> {
    if (this.#happens(this.faults.refuse)) return this.#cut(peer);
    const first = await peer.receive();
    if (first === undefined) return;
    const init = fromBinary(StreamWriteMessage_FromClientSchema, first).clientMessage;
    if (init.case !== "initRequest") return this.#refuse(peer, Status.BAD_REQUEST, "no init");
    const { producerId, partitioning, writeSessionMeta, getLastSeqNo } = init.value;
    this.inits.push({ stream: peer.id, nodeId: this.#nodeIds.get(peer.id), partitioning: partitioning.case ?? "none" });
    this.tokens.push(this.token);
    const open = (this.#open.get(producerId) ?? 0) + 1;
    this.#open.set(producerId, open);
    this.maxOpen = Math.max(this.maxOpen, open);
    peer.signal.addEventListener("abort", () => this.#open.set(producerId, (this.#open.get(producerId) ?? 0) - 1));
    if (this.#happens(this.faults.hang)) return;
    await this.#pause(peer);
    if (peer.signal.aborted) return;
    if (this.#happens(this.faults.refuse)) return this.#cut(peer);
    if (partitioning.case === "messageGroupId" && partitioning.value !== producerId) {
      return this.#refuse(peer, Status.BAD_REQUEST, "message group is not the producer");
    }
    let partitionId = 0n;
    if (partitioning.case === "partitionId") partitionId = partitioning.value;
    else if (partitioning.case === "partitionWithGeneration") {
      partitionId = partitioning.value.partitionId;
      const partition = this.partitions[Number(partitionId)];
      if (partition?.generation !== partitioning.value.generation)
        return this.#refuse(peer, Status.UNAVAILABLE, "moved");
      if (partition.nodeId !== this.#nodeIds.get(peer.id)) return this.#refuse(peer, Status.BAD_REQUEST, "wrong node");
    } else partitionId = this.#bind(producerId);
    const partition = this.partitions[Number(partitionId)];
    if (partition === undefined) return this.#refuse(peer, Status.SCHEME_ERROR, "no such partition");
    if (!partition.isActive && this.#options.opensInactive === false) {
      return this.#refuse(peer, Status.OVERLOADED, "partition is inactive");
    }
    if (this.#options.opensInactive === false) this.#inherit(partition, producerId);
    const lastSeqNo = getLastSeqNo ? (partition.last.get(producerId) ?? 0n) : 0n;
    this.told.set(peer.id, lastSeqNo);
    const supportedCodecs = { codecs: [...(this.#options.codecs ?? [])] };
    this.#reply(peer, {
      case: "initResponse",
      value: { lastSeqNo, sessionId: `session ${peer.id}`, partitionId, supportedCodecs },
    });
    if (this.#happens(this.faults.drop)) return this.#cut(peer);
    await this.#take(peer, partition, producerId, writeSessionMeta);
  }

  /** Sticky, and when the partition is split with the numbers it had. */
  #bind(producerId: string): bigint {
    const active = this.partitions.filter(({ isActive }) => isActive).map((partition) => partition.partitionId);
    if (producerId === "") return this.#rng.pick(active);
    const old = this.#bound.get(producerId);
    if (old !== undefined && active.includes(old)) return old;
    let chosen = this.#rng.pick(active);
    if (old !== undefined) {
      chosen = this.#descendants(old).find((child) => active.includes(child)) as bigint;
      const last = (this.partitions[Number(old)] as ModelPartition).last.get(producerId);
      if (last !== undefined) (this.partitions[Number(chosen)] as ModelPartition).last.set(producerId, last);
    }
    this.#bound.set(producerId, chosen);
    return chosen;
  }

  /** What the partitions before this one had of the producer. */
  #inherit(partition: ModelPartition, producerId: string): void {
    if (partition.last.has(producerId)) return;
    for (const parent of partition.parents) {
      const before = this.partitions[Number(parent)] as ModelPartition;
      this.#inherit(before, producerId);
      const last = before.last.get(producerId);
      if (last !== undefined) partition.last.set(producerId, last);
    }
  }

  #descendants(partitionId: bigint): bigint[] {
    const { children } = this.partitions[Number(partitionId)] as ModelPartition;
    return [...children, ...children.flatMap((child) => this.#descendants(child))];
  }

  async #take(peer: Peer, partition: ModelPartition, producerId: string, meta: Record<string, string>): Promise<void> {
    let held: Ack[] = [];
    let token = this.token;
    for (;;) {
      const bytes = await peer.receive();
      if (bytes === undefined) return peer.end();
      if (this.validTokens !== undefined && !this.validTokens.has(token))
        return this.#refuse(peer, Status.UNAUTHORIZED, "token expired");
      const { clientMessage } = fromBinary(StreamWriteMessage_FromClientSchema, bytes);
      if (clientMessage.case === "updateTokenRequest") {
        token = clientMessage.value.token;
        this.tokens.push(token);
        this.#reply(peer, { case: "updateTokenResponse", value: {} });
        continue;
      }
      if (clientMessage.case !== "writeRequest") return this.#refuse(peer, Status.BAD_REQUEST, "no second init");
      const { messages, codec, tx } = clientMessage.value;
      this.requests.push({ stream: peer.id, seqNos: messages.map(({ seqNo }) => seqNo) });
      if (messages.length === 0) return this.#refuse(peer, Status.BAD_REQUEST, "messages is empty");
      if (codec === 0) return this.#refuse(peer, Status.BAD_REQUEST, "codec is not set");
      for (const [place, { seqNo }] of messages.entries()) {
        const isFine = seqNo > 0n && (place === 0 || seqNo > (messages[place - 1]?.seqNo as bigint));
        if (!isFine) return this.#refuse(peer, Status.BAD_REQUEST, "numbers must rise");
      }
      await this.#pause(peer);
      if (peer.signal.aborted) return;
      if (!partition.isActive)
        return this.#refuse(peer, Status.OVERLOADED, `Write to inactive partition ${partition.partitionId}`);
      if (this.#happens(this.faults.cutBefore)) return this.#cut(peer);
      const acks = messages.map((message): Ack => {
        const last = partition.last.get(producerId) ?? 0n;
        if (producerId !== "" && message.seqNo <= last) return { seqNo: message.seqNo, offset: undefined };
        partition.last.set(producerId, message.seqNo);
        const stamp = message.createdAt as { seconds: bigint; nanos: number };
        partition.log.push({
          arrival: this.#arrivals++,
          producerId,
          seqNo: message.seqNo,
          data: Buffer.from(message.data).toString(),
          codec,
          createdAtMs: Number(stamp.seconds) * 1000 + stamp.nanos / 1e6,
          metadata: new Map(message.metadataItems.map(({ key, value }) => [key, Buffer.from(value).toString()])),
          sessionMeta: meta,
        });
        return { seqNo: message.seqNo, offset: BigInt(partition.log.length - 1) };
      });
      if (this.#happens(this.faults.cutAfter)) return this.#cut(peer);
      held.push(...acks);
      // Held ones go with the next, or soon.
      if (this.#happens(this.faults.merge)) {
        const taken = held;
        this.#clock.setTimer(this.faults.delayMs, () => {
          if (held === taken && !peer.signal.aborted) {
            held = [];
            this.#acknowledge(peer, taken, tx !== undefined);
          }
        });
        continue;
      }
      const taken = held;
      held = [];
      if (this.#happens(this.faults.divide) && taken.length > 1) {
        const at = this.#rng.int(1, taken.length);
        this.#acknowledge(peer, taken.slice(0, at), tx !== undefined);
        await this.#pause(peer);
        this.#acknowledge(peer, taken.slice(at), tx !== undefined);
      } else this.#acknowledge(peer, taken, tx !== undefined);
      if (this.#happens(this.faults.duplicate)) this.#acknowledge(peer, taken, tx !== undefined);
    }
  }

  #acknowledge(peer: Peer, acks: readonly Ack[], isTx: boolean): void {
    if (peer.signal.aborted) return;
    this.#reply(peer, {
      case: "writeResponse",
      value: {
        acks: acks.map(({ seqNo, offset }) => ({
          seqNo,
          messageWriteStatus: isTx
            ? { case: "writtenInTx", value: {} }
            : offset === undefined
              ? { case: "skipped", value: { reason: 1 } }
              : { case: "written", value: { offset } },
        })),
      },
    });
  }
}

/** The range of all 8-byte keys in equal parts. */
function bound(n: number, count: number): Uint8Array | undefined {
  if (n === 0 || n === count) return undefined;
  return bytesOf((2n ** 64n * BigInt(n)) / BigInt(count));
}

function between(from: Uint8Array | undefined, to: Uint8Array | undefined): Uint8Array {
  const low = from === undefined ? 0n : BigInt(`0x${Buffer.from(from).toString("hex")}`);
  const high = to === undefined ? 2n ** 64n : BigInt(`0x${Buffer.from(to).toString("hex")}`);
  return bytesOf((low + high) / 2n);
}

function bytesOf(value: bigint): Uint8Array {
  return Buffer.from(value.toString(16).padStart(16, "0"), "hex");
}
