import { fromBinary } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { CallReceiver, FrameCall } from "@tidemark/connect-transport";
import { encodeReadResponse, readResponseBytes, StatusCode, topicWire } from "@tidemark/topic/internal";
import type { Partition } from "../storage/partition.ts";
import type { StoredRecord } from "../storage/record.ts";
import type { Topic } from "../storage/topic.ts";
import type { Identity } from "./access.ts";
import { readAnswer, readFailure, timestamp } from "./messages.ts";
import {
  openPartitionSession,
  type PartitionSessionEvent,
  partitionSessionNext,
  type PartitionSessionState,
} from "./partition-session-state.ts";
import type { GroupMember, ReadGroup } from "./read-groups.ts";
import { cut, type LastScan } from "./read-pieces.ts";
import { initialReadState, type ReadEvent, type ReadInitRequest, readSessionNext } from "./read-session-state.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import type { Service } from "./service.ts";

type FromClient = topicWire.StreamReadMessage_FromClient["clientMessage"];

/** Bytes of messages in one response. */
const maxResponseBytes = 1024 * 1024;

interface Wish {
  readonly topic: Topic;
  readonly group: ReadGroup | undefined;
  readonly maxLagMs: number | undefined;
  readonly readFromMs: number;
}

/** A partition on this stream. */
interface Part {
  readonly id: number;
  readonly wish: Wish;
  readonly partition: Partition;
  state: PartitionSessionState;
  /** The next message to send. */
  readOffset: number;
  /** Where the messages begin that are new enough. */
  cut: number;
  /** The disk is being read for it. */
  isBusy: boolean;
  isEndTold: boolean;
  readonly last: LastScan;
}

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
  #wishes: Wish[] = [];
  #nextId = 1;
  readonly #parts = new Map<number, Part>();
  /** Partitions that may have something to send, in turn. */
  #queue: Part[] = [];
  readonly #queued = new Set<Part>();
  #isPumping = false;
  #isScheduled = false;
  #isFull = false;
  readonly #releases: (() => void)[] = [];

  constructor(service: Service, call: FrameCall) {
    this.#service = service;
    this.#call = call;
    this.id = service.rng.uuid();
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
    return undefined;
  }

  end(): void {
    this.#event({ type: "clientEnded" });
  }

  onAssigned(topic: Topic, partition: Partition): void {
    const wish = this.#wishes.find((each) => each.topic === topic);
    if (wish !== undefined) void this.#start(wish, partition).catch((error: unknown) => this.#refuse(error));
  }

  onStop(topic: Topic, partition: number, isGraceful: boolean): void {
    const part = this.#partOf(topic, partition);
    if (part !== undefined) this.#step(part, { type: "stop", isGraceful });
    else this.#wishes.find((each) => each.topic === topic)?.group?.released(this, partition);
  }

  onMoved(topic: Topic, partition: number, offset: number): void {
    const part = this.#partOf(topic, partition);
    if (part !== undefined) this.#step(part, { type: "moved", offset });
  }

  onConsumerGone(consumer: string): void {
    this.#refuse(new Refusal(StatusCode.SCHEME_ERROR, `The consumer ${consumer} was dropped`));
  }

  lastReadOffset(topic: Topic, partition: number): number {
    return this.#partOf(topic, partition)?.readOffset ?? 0;
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
        this.#schedule();
        return;
      case "fail":
        this.#call.send(readFailure(effect.status, effect.detail));
        this.#call.end();
        this.#release();
        return;
      case "finish":
        this.#call.end();
        this.#release();
        return;
    }
  }

  #refuse(error: unknown): void {
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
      wishes.set(topic, { topic, group, maxLagMs, readFromMs, partitions });
    }
    this.#consumer = consumer;
    this.readerName = request.readerName;
    this.seesSplits = request.autoPartitioningSupport;
    this.#maxPartitionBytes = Number(request.partitionMaxInFlightBytes);
    this.#wishes = [...wishes.values()];
    this.#call.send(readAnswer({ case: "initResponse", value: { sessionId: this.id } }));
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
    const part: Part = {
      id: this.#nextId++,
      wish,
      partition,
      state: openPartitionSession(committed, group !== undefined),
      readOffset: committed,
      cut: 0,
      isBusy: false,
      isEndTold: false,
      last: { baseOffset: -1, columns: undefined },
    };
    this.#parts.set(part.id, part);
    const since = Math.max(readFromMs, maxLagMs === undefined ? 0 : this.#service.clock.now() - maxLagMs);
    if (since > 0) part.cut = await partition.log.offsetOfTime(since);
    if (part.state.phase === "gone" || this.#state.phase !== "open") return;
    const { startOffset, endOffset } = partition.log;
    const value = {
      partitionSession: { partitionSessionId: BigInt(part.id), path: topic.path, partitionId: BigInt(partition.id) },
      // Somebody may have committed meanwhile.
      committedOffset: BigInt(part.state.committed),
      partitionOffsets: { start: BigInt(startOffset), end: BigInt(endOffset) },
      partitionLocation: { nodeId: 1, generation: 1n },
    };
    this.#call.send(readAnswer({ case: "startPartitionSessionRequest", value }));
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
    part.state = state;
    const partitionSessionId = BigInt(part.id);
    const { topic, group } = part.wish;
    for (const effect of effects) {
      switch (effect.type) {
        case "read":
          part.readOffset = effect.from;
          this.#enqueue(part);
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
          this.#call.send(readAnswer({ case: "commitOffsetResponse", value: { partitionsCommittedOffsets } }));
          break;
        }
        case "sendStop": {
          const committedOffset = BigInt(part.state.committed);
          const value = { partitionSessionId, graceful: effect.isGraceful, committedOffset };
          this.#call.send(readAnswer({ case: "stopPartitionSessionRequest", value }));
          break;
        }
        case "released":
          this.#parts.delete(part.id);
          group?.released(this, part.partition.id);
          break;
        case "fail":
          this.#event({ type: "invalid", detail: effect.detail });
          return;
      }
    }
  }

  #onVisible(topic: Topic, partition: number): void {
    const part = this.#partOf(topic, partition);
    if (part?.state.phase === "reading") this.#enqueue(part);
  }

  #enqueue(part: Part): void {
    if (!this.#queued.has(part)) {
      this.#queued.add(part);
      this.#queue.push(part);
    }
    this.#schedule();
  }

  /** Once a turn: what became readable together is sent together. */
  #schedule(): void {
    if (this.#isScheduled || this.#isPumping || this.#isFull) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    this.#isPumping = true;
    while (this.#state.phase === "open" && this.#state.credit > 0 && !this.#isFull) {
      const part = this.#queue.shift();
      if (part === undefined) break;
      this.#queued.delete(part);
      if (part.isBusy || part.state.phase !== "reading") continue;
      this.#read(part);
    }
    this.#isPumping = false;
  }

  #read(part: Part): void {
    const { log } = part.partition;
    // Retention may have overtaken the reader: what is gone is a gap in the offsets.
    if (part.readOffset < log.startOffset) part.readOffset = log.startOffset;
    if (part.readOffset >= log.endOffset) {
      this.#tellEnd(part);
      return;
    }
    const room = Math.min(this.#state.credit, maxResponseBytes, this.#maxPartitionBytes || maxResponseBytes);
    const offset = part.readOffset;
    const found = log.read(offset, room);
    if (!(found instanceof Promise)) {
      this.#send(part, offset, found);
      return;
    }
    part.isBusy = true;
    found.then(
      (records) => {
        part.isBusy = false;
        if (part.state.phase === "reading" && part.readOffset === offset) this.#send(part, offset, records);
      },
      (error: unknown) => {
        part.isBusy = false;
        // A segment that retention removed while it was being read.
        if (part.readOffset < log.startOffset) this.#enqueue(part);
        else this.#refuse(error);
      },
    );
  }

  #send(part: Part, offset: number, records: readonly StoredRecord[]): void {
    const { credit, phase } = this.#state;
    if (phase !== "open") return;
    if (credit <= 0) {
      this.#enqueue(part);
      return;
    }
    try {
      const room = Math.min(credit, maxResponseBytes, this.#maxPartitionBytes || maxResponseBytes);
      const { batches, nextOffset } = cut(records, offset, room, part.last);
      if (batches.length > 0) {
        const bytes = readResponseBytes(part.id, batches);
        part.readOffset = nextOffset;
        this.#event({ type: "sent", bytes });
        if (!this.#call.send(encodeReadResponse(part.id, batches, bytes))) this.#waitForRoom();
      }
    } catch (error) {
      this.#refuse(error);
      return;
    }
    this.#enqueue(part);
  }

  #waitForRoom(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    this.#call.drained().then(
      () => {
        this.#isFull = false;
        this.#schedule();
      },
      () => {},
    );
  }

  #tellEnds(): void {
    for (const part of this.#parts.values()) if (part.state.phase === "reading") this.#enqueue(part);
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
    this.#call.send(readAnswer({ case: "endPartitionSession", value }));
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
      writeTimeHighWatermark: timestamp(lastWrittenAtMs),
      readOffset: BigInt(part.readOffset),
    };
    this.#call.send(readAnswer({ case: "partitionSessionStatusResponse", value }));
  }

  #checkToken(token: string): void {
    try {
      const identity = this.#service.access.identifyToken(token);
      for (const { topic } of this.#wishes) {
        if (this.#service.access.allows(identity, topic.path, "read")) continue;
        throw new Refusal(StatusCode.UNAUTHORIZED, `${identity.user} may not read ${topic.path}`);
      }
      this.#identity = identity;
      // Also for a token that is the same: who waits for the answer would wait forever.
      this.#call.send(readAnswer({ case: "updateTokenResponse", value: {} }));
    } catch (error) {
      this.#refuse(error);
    }
  }

  #partOf(topic: Topic, partition: number): Part | undefined {
    for (const part of this.#parts.values()) {
      if (part.wish.topic === topic && part.partition.id === partition) return part;
    }
    return undefined;
  }

  #release(): void {
    this.#state = { phase: "closed", credit: 0 };
    for (const part of this.#parts.values()) part.state = { ...part.state, phase: "gone" };
    this.#parts.clear();
    this.#queue = [];
    this.#queued.clear();
    for (const release of this.#releases.splice(0)) release();
  }
}
