import { fromBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { CallReceiver, FrameCall } from "@tidemark/connect-transport";
import { StatusCode, type StoredBatch, topicWire } from "@tidemark/topic/internal";
import type { Partition } from "../storage/partition.ts";
import type { Topic } from "../storage/topic.ts";
import type { Identity } from "./access.ts";
import { readAnswer, readFailure, timestamp } from "./messages.ts";
import { type PartitionSessionEvent, partitionSessionNext } from "./partition-session-state.ts";
import type { PartitionReadStats } from "./read-stats.ts";
import type { GroupMember } from "./read-groups.ts";
import { Part, type Wish } from "./read-part.ts";
import { type PumpOwner, ReadPump } from "./read-pump.ts";
import { initialReadState, type ReadEvent, type ReadInitRequest, readSessionNext } from "./read-session-state.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import type { Service } from "./service.ts";

type FromClient = topicWire.StreamReadMessage_FromClient["clientMessage"];

/** One StreamRead call: the rules of the two state files on a stream, a group of readers and logs. */
export class ReadSession implements CallReceiver, GroupMember {
  readonly id: string;
  readerName = "";
  seesSplits = false;
  readonly #service: Service;
  readonly #call: FrameCall;
  #identity: Identity = { user: "", rights: [] };
  #state = initialReadState;
  #consumer = "";
  #maxPartitionBytes = 0;
  #wishes = new Map<Topic, Wish>();
  #nextId = 1;
  readonly #parts = new Map<number, Part>();
  readonly #pump: ReadPump<Part>;
  /** The client does not read what it is told. */
  #isSendFull = false;
  readonly #releases: (() => void)[] = [];
  /** Ends the call instead of a status of YDB. */
  #grpcError: ConnectError | undefined;

  constructor(service: Service, call: FrameCall) {
    this.#service = service;
    this.#call = call;
    this.id = service.rng.uuid();
    this.#pump = new ReadPump<Part>(call, this.#pumpOwner());
    this.#releases.push(service.addSession((error) => this.#refuse(error)));
    try {
      this.#identity = service.access.identify(call.headers);
    } catch (error) {
      this.#refuse(error);
    }
    call.signal.addEventListener("abort", () => this.#release(), { once: true });
  }

  frames(frames: readonly Uint8Array[]): void | Promise<void> {
    for (const frame of frames) {
      if (this.#state.phase === "closed") return undefined;
      let message: FromClient;
      try {
        message = fromBinary(topicWire.StreamReadMessage_FromClientSchema, frame).clientMessage;
      } catch (error) {
        this.#event({ type: "invalid", detail: error instanceof Error ? error.message : "not a valid message" });
        return undefined;
      }
      this.#event({ type: "message", message });
    }
    // Who asks and does not read the answers is not read either.
    if (!this.#isSendFull) return undefined;
    this.#isSendFull = false;
    return this.#call.drained().catch(() => {});
  }

  end(): void {
    this.#event({ type: "clientEnded" });
  }

  onAssigned(topic: Topic, partition: Partition): void {
    const wish = this.#wishes.get(topic);
    if (wish !== undefined) void this.#start(wish, partition).catch((error: unknown) => this.#refuse(error));
  }

  onStop(topic: Topic, partition: number, isGraceful: boolean): void {
    const part = this.#partOf(topic, partition);
    if (part !== undefined) this.#step(part, { type: "stop", isGraceful });
    else this.#wishes.get(topic)?.group?.released(this, partition);
  }

  onMoved(topic: Topic, partition: number, offset: number): void {
    const part = this.#partOf(topic, partition);
    if (part !== undefined) this.#step(part, { type: "moved", offset });
  }

  onConsumerGone(consumer: string): void {
    this.#refuse(new Refusal(StatusCode.SCHEME_ERROR, `The consumer ${consumer} was dropped`));
  }

  position(topic: Topic, partition: number): Part | undefined {
    return this.#partOf(topic, partition);
  }

  #event(event: ReadEvent): void {
    const [state, effect] = readSessionNext(this.#state, event);
    this.#state = state;
    if (effect === undefined) return;
    switch (effect.type) {
      case "open":
        try {
          this.#open(effect.request);
        } catch (error) {
          this.#refuse(error);
        }
        return;
      case "dispatch":
        this.#dispatch(effect.message);
        return;
      case "pump":
        this.#pump.schedule();
        return;
      case "fail":
        if (this.#grpcError === undefined) this.#call.send(readFailure(effect.status, effect.detail));
        this.#call.end(this.#grpcError ?? this.#service.streamError);
        this.#release();
        return;
      case "finish":
        this.#call.end();
        this.#release();
        return;
    }
  }

  #tell(serverMessage: Parameters<typeof readAnswer>[0]): void {
    if (!this.#call.send(readAnswer(serverMessage))) this.#isSendFull = true;
  }

  #refuse(error: unknown): void {
    if (error instanceof ConnectError) this.#grpcError = error;
    const { status, message } = refusalOf(error);
    this.#event({ type: "refused", status, detail: message });
  }

  #open(request: ReadInitRequest): void {
    const { consumer } = request;
    const wishes = new Map<Topic, Wish & { readonly partitions: number[] }>();
    for (const settings of request.topicsReadSettings) {
      const topic = this.#service.topic(settings.path, this.#call.headers, this.#identity, "read");
      const definition = topic.definition.consumers.find(({ name }) => name === consumer);
      if (consumer !== "" && definition === undefined) {
        throw new Refusal(StatusCode.SCHEME_ERROR, `${topic.path} has no consumer ${consumer}`);
      }
      const partitions = settings.partitionIds.map(Number);
      for (const id of partitions) {
        if (topic.partitions[id] === undefined) {
          throw new Refusal(StatusCode.SCHEME_ERROR, `${topic.path} has no partition ${id}`);
        }
      }
      const readFromMs = Math.max(
        settings.readFrom === undefined ? 0 : timestampMs(settings.readFrom),
        definition?.readFromMs ?? 0,
      );
      const group = consumer === "" ? undefined : this.#service.groups.group(topic, consumer);
      const maxLagMs = settings.maxLag === undefined ? undefined : durationMs(settings.maxLag);
      wishes.set(topic, { topic, group, maxLagMs, readFromMs, partitions, parts: new Map() });
    }
    this.#consumer = consumer;
    this.readerName = request.readerName;
    this.seesSplits = request.autoPartitioningSupport;
    this.#maxPartitionBytes = Number(request.partitionMaxInFlightBytes);
    this.#wishes = wishes;
    this.#tell({ case: "initResponse", value: { sessionId: this.id } });
    for (const wish of wishes.values()) {
      const { topic, group, partitions } = wish;
      this.#releases.push(
        topic.listen({
          onDropped: () => this.#refuse(new Refusal(StatusCode.SCHEME_ERROR, `The topic ${topic.path} was dropped`)),
          onVisible: (id) => this.#onVisible(topic, id),
          onPartitions: () => this.#tellEnds(),
        }),
      );
      if (group === undefined) {
        for (const id of partitions) this.onAssigned(topic, topic.partitions[id] as Partition);
        continue;
      }
      this.#releases.push(() => this.#service.groups.leave(group, this));
      group.join(this, partitions);
    }
  }

  async #start(wish: Wish, partition: Partition): Promise<void> {
    const { topic, group, maxLagMs, readFromMs } = wish;
    const committed = group === undefined ? 0 : topic.committedOffset(this.#consumer, partition.id);
    const part = new Part({
      id: this.#nextId++,
      wish,
      partition,
      committed,
      maxInFlightBytes: this.#maxPartitionBytes,
      createdAtMs: this.#service.clock.now(),
      stats: group === undefined ? undefined : this.#service.readStats.get(topic, this.#consumer, partition.id),
    });
    wish.parts.set(partition.id, part);
    this.#parts.set(part.id, part);
    const since = Math.max(readFromMs, maxLagMs === undefined ? 0 : this.#service.clock.now() - maxLagMs);
    if (since > 0) part.cut = await partition.log.offsetOfTime(since);
    if (part.state.phase === "gone" || this.#state.phase !== "open") return;
    this.#step(part, { type: "offered" });
    const { startOffset, endOffset } = partition.log;
    const value = {
      partitionSession: {
        partitionSessionId: BigInt(part.id),
        path: this.#service.relative(topic.path),
        partitionId: BigInt(partition.id),
      },
      // Somebody may have committed meanwhile.
      committedOffset: BigInt(part.state.committed),
      partitionOffsets: { start: BigInt(startOffset), end: BigInt(endOffset) },
      partitionLocation: this.#service.location,
    };
    this.#tell({ case: "startPartitionSessionRequest", value });
  }

  #dispatch(message: FromClient): void {
    switch (message.case) {
      case "startPartitionSessionResponse": {
        const { partitionSessionId, readOffset, commitOffset } = message.value;
        const part = this.#parts.get(Number(partitionSessionId));
        if (part === undefined) return;
        const { startOffset, endOffset } = part.partition.log;
        const asNumber = (value: bigint | undefined) => (value === undefined ? undefined : Number(value));
        this.#step(part, {
          type: "started",
          readOffset: asNumber(readOffset),
          commitOffset: asNumber(commitOffset),
          cut: part.cut,
          startOffset,
          endOffset,
        });
        return;
      }
      case "stopPartitionSessionResponse": {
        const part = this.#parts.get(Number(message.value.partitionSessionId));
        if (part !== undefined) this.#step(part, { type: "stopAnswered" });
        return;
      }
      case "commitOffsetRequest":
        for (const { partitionSessionId, offsets } of message.value.commitOffsets) {
          const part = this.#parts.get(Number(partitionSessionId));
          if (part === undefined) continue;
          const ranges = offsets.map(({ start, end }) => ({ start: Number(start), end: Number(end) }));
          this.#step(part, { type: "commit", ranges, endOffset: part.partition.log.endOffset });
        }
        return;
      case "partitionSessionStatusRequest":
        this.#sendStatus(Number(message.value.partitionSessionId));
        return;
      case "updateTokenRequest":
        this.#checkToken(message.value.token);
        return;
      default:
        return;
    }
  }

  #step(part: Part, event: PartitionSessionEvent): void {
    const [state, ...effects] = partitionSessionNext(part.state, event);
    if (state.committed > part.state.committed && part.inFlight !== undefined) {
      part.inFlight.committed(state.committed);
      this.#pump.enqueue(part);
    }
    part.state = state;
    const partitionSessionId = BigInt(part.id);
    const { topic, group } = part.wish;
    for (const effect of effects) {
      switch (effect.type) {
        case "read":
          part.readOffset = effect.from;
          this.#pump.enqueue(part);
          break;
        case "persist":
          this.#service.store.commits.add(topic, this.#consumer, part.partition.id, effect.offset, (error) => {
            if (error !== undefined) {
              this.#refuse(error);
              return;
            }
            this.#step(part, { type: "persisted", offset: effect.offset });
            this.#service.groups.committed(topic, this.#consumer, part.partition.id, effect.offset, this);
          });
          break;
        case "acknowledge": {
          const partitionsCommittedOffsets = [{ partitionSessionId, committedOffset: BigInt(effect.offset) }];
          this.#tell({ case: "commitOffsetResponse", value: { partitionsCommittedOffsets } });
          break;
        }
        case "sendStop": {
          const committedOffset = BigInt(part.state.committed);
          const value = { partitionSessionId, graceful: effect.isGraceful, committedOffset };
          this.#tell({ case: "stopPartitionSessionRequest", value });
          break;
        }
        case "released":
          this.#parts.delete(part.id);
          part.wish.parts.delete(part.partition.id);
          group?.released(this, part.partition.id);
          break;
        case "fail":
          this.#event({ type: "invalid", detail: effect.detail });
          return;
      }
    }
  }

  #pumpOwner(): PumpOwner<Part> {
    const credit = () => (this.#state.phase === "open" ? this.#state.credit : 0);
    return {
      get credit() {
        return credit();
      },
      onSent: (part, bytes, batches) => {
        this.#event({ type: "sent", bytes });
        if (part.stats !== undefined) this.#count(part, part.stats, bytes, batches);
      },
      onReadToEnd: (part) => this.#tellEnd(part),
      onReadFailed: (error) => this.#refuse(error),
    };
  }

  #count(part: Part, stats: PartitionReadStats, bytes: number, batches: readonly StoredBatch[]): void {
    const now = this.#service.clock.now();
    let writeLagMs = 0;
    for (const { messages, from, writtenAtMs } of batches) {
      const lagMs = writtenAtMs - messages.createdAtMs(from ?? 0);
      if (lagMs > writeLagMs) writeLagMs = lagMs;
    }
    // The first one was written before the others.
    stats.traffic.add(now, bytes, writeLagMs, now - (batches[0]?.writtenAtMs ?? now));
    stats.lastReadAtMs = now;
    stats.lastReadOffset = part.readOffset;
  }

  #onVisible(topic: Topic, partition: number): void {
    const part = this.#partOf(topic, partition);
    if (part?.isReading === true) this.#pump.enqueue(part);
  }

  #tellEnds(): void {
    for (const part of this.#parts.values()) if (part.isReading) this.#pump.enqueue(part);
  }

  /** The partition was split, and this reader has all there was. */
  #tellEnd(part: Part): void {
    const { partition, wish } = part;
    if (partition.definition.isActive || part.isEndTold) return;
    part.isEndTold = true;
    if (!this.seesSplits) return;
    const value = {
      partitionSessionId: BigInt(part.id),
      adjacentPartitionIds: [],
      childPartitionIds: partition.definition.children.map(BigInt),
    };
    this.#tell({ case: "endPartitionSession", value });
    wish.group?.readToEnd(this, partition.id);
  }

  #sendStatus(id: number): void {
    const part = this.#parts.get(id);
    if (part === undefined) return;
    const { startOffset, endOffset, lastWrittenAtMs } = part.partition.log;
    const value = {
      partitionSessionId: BigInt(id),
      partitionOffsets: { start: BigInt(startOffset), end: BigInt(endOffset) },
      committedOffset: BigInt(part.state.committed),
      ...(lastWrittenAtMs === undefined ? {} : { writeTimeHighWatermark: timestamp(lastWrittenAtMs) }),
      readOffset: BigInt(part.readOffset),
    };
    this.#tell({ case: "partitionSessionStatusResponse", value });
  }

  #checkToken(token: string): void {
    try {
      const identity = this.#service.access.identifyToken(token);
      for (const topic of this.#wishes.keys()) {
        if (this.#service.access.allows(identity, topic.path, "read")) continue;
        throw new Refusal(StatusCode.UNAUTHORIZED, `${identity.user} may not read ${topic.path}`);
      }
      this.#identity = identity;
      // Also for a token that is the same: who waits for the answer would wait forever.
      this.#tell({ case: "updateTokenResponse", value: {} });
    } catch (error) {
      this.#refuse(error);
    }
  }

  #partOf(topic: Topic, partition: number): Part | undefined {
    return this.#wishes.get(topic)?.parts.get(partition);
  }

  #release(): void {
    this.#state = { phase: "closed", credit: 0 };
    for (const part of this.#parts.values()) part.state = { ...part.state, phase: "gone" };
    this.#parts.clear();
    this.#pump.clear();
    for (const release of this.#releases.splice(0)) release();
  }
}
