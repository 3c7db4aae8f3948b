// The rules of a topic service for one consumer, strict about everything that a reader may do wrong. Frames are real.

import type { Clock, Rng } from "@tidemark/clock";
import { createMemoryServer, type MemoryPeer, type MemoryServer } from "@tidemark/stream/testing";
import type { StatusCode } from "@tidemark/topic/internal";
import { clientMessage, payload, serverFrame, unknownFrame } from "./frames.ts";

export interface ModelMessage {
  readonly offset: number;
  readonly seqNo: number;
  readonly size: number;
}

export class ModelPartition {
  readonly topic: string;
  readonly id: number;
  readonly messages: ModelMessage[] = [];
  endOffset = 0;
  firstOffset = 0;
  committed = 0;
  /** Split: nothing more is written, and its children begin when it was read. */
  children: ModelPartition[] = [];
  isOpen = true;
  /** Another reader has it. */
  hasRival = false;
  session: ModelSession | undefined;

  constructor(topic: string, id: number) {
    this.topic = topic;
    this.id = id;
  }

  get key(): string {
    return `${this.topic}/${this.id}`;
  }
}

/** One partition on one stream. */
export interface ModelSession {
  readonly id: number;
  readonly partition: ModelPartition;
  isStarted: boolean;
  isReleasing: boolean;
  isEndTold: boolean;
  /** Index of the next message to send. */
  readOffset: number;
  /** Ranges that are neither acknowledged nor contiguous yet. */
  pending: { start: number; end: number }[];
}

export interface ModelFaults {
  /** Handshakes that take no end, in [0, 1]. */
  readonly hungHandshake: number;
  /** The longest delay of an answer, in milliseconds. */
  readonly latencyMs: number;
  /** Commits that are noted and not acknowledged, in [0, 1]. */
  readonly lostAck: number;
  /** Frames of unknown kinds and of unknown sessions, in [0, 1]. */
  readonly noise: number;
}

type Peer = MemoryPeer<Uint8Array, Uint8Array>;

/** One stream with what the server knows about it. */
interface Stream {
  readonly peer: Peer;
  readonly sessions: Map<number, ModelSession>;
  nextId: number;
  granted: number;
  sent: number;
  isInitialised: boolean;
  wake: PromiseWithResolvers<void>;
  isReaderClosing: boolean;
}

export class ModelServer {
  readonly memory: MemoryServer<Uint8Array, Uint8Array>;
  readonly partitions: ModelPartition[] = [];
  /** What a reader must never do. */
  readonly violations: string[] = [];
  faults: ModelFaults = { hungHandshake: 0, latencyMs: 0, lostAck: 0, noise: 0 };
  /** Whether every commit of a range that somebody else may not have handled is checked. */
  onCommitted: (partition: ModelPartition, from: number, to: number) => void = () => {};
  onSessionStarted: (session: ModelSession) => void = () => {};
  windowBytes = 0;
  hasConsumer = true;
  moves = 0;
  stopAnswers = 0;
  readonly tokens: string[] = [];
  inits = 0;
  readonly #clock: Clock;
  readonly #rng: Rng;
  #stream: Stream | undefined;

  constructor(clock: Clock, rng: Rng) {
    this.#clock = clock;
    this.#rng = rng;
    this.memory = createMemoryServer<Uint8Array, Uint8Array>({ onStream: (peer) => this.#serve(peer) });
  }

  addPartition(topic: string, id: number): ModelPartition {
    const partition = new ModelPartition(topic, id);
    this.partitions.push(partition);
    return partition;
  }

  /** What the server may still send, for all that it knows. */
  get available(): number {
    return this.#stream === undefined ? 0 : this.#stream.granted - this.#stream.sent;
  }

  get isServing(): boolean {
    return this.#stream?.isInitialised ?? false;
  }

  write(partition: ModelPartition, size: number, gap = 0): void {
    partition.endOffset += gap;
    const offset = partition.endOffset++;
    partition.messages.push({ offset, seqNo: offset + 1, size });
    this.kick();
  }

  /** Retention: everything below is gone. Returns what was removed. */
  trim(partition: ModelPartition, below: number): ModelMessage[] {
    partition.firstOffset = Math.max(partition.firstOffset, Math.min(below, partition.endOffset));
    const gone = partition.messages.filter(({ offset }) => offset < partition.firstOffset);
    partition.messages.splice(0, gone.length);
    return gone;
  }

  kick(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    stream.wake.resolve();
    stream.wake = Promise.withResolvers();
  }

  cut(error: unknown = new Error("the connection broke")): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#drop(stream);
    stream.peer.fail(error);
  }

  /** Ends the stream as the service does: with a status, and then normally. */
  refuse(status: StatusCode, issue: string): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#drop(stream);
    stream.peer.send(serverFrame({ case: undefined }, status, issue));
    stream.peer.end();
  }

  /** Asks for a partition, or takes it. A rival has it then, until `giveBack`. */
  take(partition: ModelPartition, isGraceful: boolean): void {
    const { session } = partition;
    const stream = this.#stream;
    if (session === undefined || stream === undefined) return;
    if (isGraceful && (session.isReleasing || !session.isStarted)) return;
    this.moves++;
    session.isReleasing = true;
    this.#say(stream, {
      case: "stopPartitionSessionRequest",
      value: {
        partitionSessionId: BigInt(session.id),
        graceful: isGraceful,
        committedOffset: BigInt(partition.committed),
      },
    });
    if (!isGraceful) this.#release(stream, session, true);
  }

  giveBack(partition: ModelPartition): void {
    partition.hasRival = false;
    this.kick();
  }

  split(partition: ModelPartition, childIds: readonly number[]): ModelPartition[] {
    partition.isOpen = false;
    partition.children = childIds.map((id) => new ModelPartition(partition.topic, id));
    this.partitions.push(...partition.children);
    this.kick();
    return partition.children;
  }

  /** A child is given out when its parent was read to its end here, or is committed to its end. */
  #isGivenOut(partition: ModelPartition): boolean {
    const parent = this.partitions.find(({ children }) => children.includes(partition));
    if (parent === undefined) return true;
    return parent.committed >= parent.endOffset || (parent.session?.isEndTold ?? false);
  }

  async #serve(peer: Peer): Promise<void> {
    const { rng } = { rng: this.#rng };
    if (rng.float() < this.faults.hungHandshake) return;
    const first = await peer.receive();
    if (first === undefined) return peer.end();
    const init = clientMessage(first);
    if (init.case !== "initRequest") {
      this.violations.push(`the first message was ${init.case}`);
      return;
    }
    this.inits++;
    await this.#pause(peer);
    if (peer.signal.aborted) return;
    const stream: Stream = {
      peer,
      sessions: new Map(),
      nextId: 1,
      granted: 0,
      sent: 0,
      isInitialised: true,
      wake: Promise.withResolvers(),
      isReaderClosing: false,
    };
    this.#stream = stream;
    this.#say(stream, { case: "initResponse", value: { sessionId: `stream-${peer.id}` } });
    void this.#pump(stream);
    for await (const frame of peer.received) this.#hear(stream, frame);
    this.#drop(stream);
    peer.end();
  }

  #hear(stream: Stream, frame: Uint8Array): void {
    const message = clientMessage(frame);
    switch (message.case) {
      case "readRequest": {
        const bytes = Number(message.value.bytesSize);
        if (bytes <= 0) this.violations.push(`ReadRequest of ${bytes} bytes`);
        stream.granted += bytes;
        if (stream.granted - stream.sent > this.windowBytes) {
          this.violations.push(
            `X13: ${stream.granted - stream.sent} bytes of credit in a window of ${this.windowBytes}`,
          );
        }
        break;
      }
      case "startPartitionSessionResponse": {
        const { partitionSessionId, readOffset, commitOffset } = message.value;
        const session = stream.sessions.get(Number(partitionSessionId));
        if (session === undefined || session.isReleasing) break;
        if (session.isStarted) this.violations.push(`session ${session.id} was started twice`);
        const { partition } = session;
        if (commitOffset !== undefined) this.#advance(stream, session, Number(commitOffset), false);
        if (readOffset !== undefined && Number(readOffset) < partition.committed) {
          this.violations.push(`read_offset ${readOffset} below ${partition.committed}`);
        }
        session.isStarted = true;
        session.readOffset = Math.max(Number(readOffset ?? 0n), partition.committed);
        this.onSessionStarted(session);
        break;
      }
      case "stopPartitionSessionResponse": {
        const id = Number(message.value.partitionSessionId);
        const session = stream.sessions.get(id);
        this.stopAnswers++;
        if (session === undefined) {
          if (id >= stream.nextId) this.violations.push(`X15: an answer for session ${id} of another stream`);
        } else if (!session.isReleasing) this.violations.push(`X15: session ${id} was not to be stopped`);
        else this.#release(stream, session, true);
        break;
      }
      case "commitOffsetRequest":
        for (const { partitionSessionId, offsets } of message.value.commitOffsets) {
          const session = stream.sessions.get(Number(partitionSessionId));
          if (session === undefined) continue;
          if (!session.isStarted) this.violations.push(`session ${session.id} commits before it started`);
          for (const range of offsets) this.#commit(stream, session, Number(range.start), Number(range.end));
        }
        break;
      case "updateTokenRequest":
        this.tokens.push(message.value.token);
        this.#say(stream, { case: "updateTokenResponse", value: {} });
        break;
      default:
        this.violations.push(`an unexpected ${message.case}`);
    }
    this.kick();
  }

  /** topic.proto, CommitOffsetRequest: what is committed grows over the contiguous prefix. */
  #commit(stream: Stream, session: ModelSession, start: number, end: number): void {
    const { partition, pending } = session;
    const isValid =
      start < end &&
      start >= partition.committed &&
      end <= partition.endOffset &&
      pending.every((other) => end <= other.start || start >= other.end);
    if (!isValid) {
      const others = pending.map((other) => `[${other.start}, ${other.end})`).join(" ");
      this.violations.push(
        `X14: commit [${start}, ${end}) of ${partition.key} at ${partition.committed} beside ${others}`,
      );
      return;
    }
    pending.push({ start, end });
    pending.sort((a, b) => a.start - b.start);
    let to = partition.committed;
    while (pending[0]?.start === to) to = (pending.shift() as { end: number }).end;
    if (to > partition.committed) this.#advance(stream, session, to, true);
  }

  #advance(stream: Stream, session: ModelSession, to: number, isChecked: boolean): void {
    const { partition } = session;
    if (to <= partition.committed) return;
    if (isChecked) this.onCommitted(partition, partition.committed, to);
    partition.committed = to;
    if (this.#rng.float() < this.faults.lostAck) return;
    const committedOffset = BigInt(to);
    const delayMs = this.#delayMs();
    const tell = () => {
      if (stream.sessions.get(session.id) !== session) return;
      this.#say(stream, {
        case: "commitOffsetResponse",
        value: { partitionsCommittedOffsets: [{ partitionSessionId: BigInt(session.id), committedOffset }] },
      });
    };
    if (delayMs === 0) tell();
    else this.#clock.setTimer(delayMs, tell);
  }

  #release(stream: Stream, session: ModelSession, isMoved: boolean): void {
    stream.sessions.delete(session.id);
    session.partition.session = undefined;
    session.partition.hasRival = isMoved;
  }

  #drop(stream: Stream): void {
    if (this.#stream === stream) this.#stream = undefined;
    for (const session of stream.sessions.values()) this.#release(stream, session, false);
    stream.wake.resolve();
  }

  /** Gives out partitions and sends data, for as long as there is something to do. */
  async #pump(stream: Stream): Promise<void> {
    while (this.#stream === stream && !stream.peer.signal.aborted) {
      const { wake } = stream;
      if (this.#start(stream) || this.#send(stream)) await this.#pause(stream.peer);
      else await wake.promise;
    }
  }

  #start(stream: Stream): boolean {
    const partition = this.partitions.find((each) => !each.session && !each.hasRival && this.#isGivenOut(each));
    if (partition === undefined) return false;
    const session: ModelSession = {
      id: stream.nextId++,
      partition,
      isStarted: false,
      isReleasing: false,
      isEndTold: false,
      readOffset: 0,
      pending: [],
    };
    stream.sessions.set(session.id, session);
    partition.session = session;
    this.#say(stream, {
      case: "startPartitionSessionRequest",
      value: {
        partitionSession: {
          partitionSessionId: BigInt(session.id),
          path: partition.topic,
          partitionId: BigInt(partition.id),
        },
        committedOffset: BigInt(this.hasConsumer ? partition.committed : 0),
        partitionOffsets: { start: BigInt(partition.firstOffset), end: BigInt(partition.endOffset) },
      },
    });
    return true;
  }

  #send(stream: Stream): boolean {
    const ready = [...stream.sessions.values()].filter((each) => each.isStarted && !each.isReleasing);
    for (const session of ready) {
      const { partition } = session;
      const isRead = (partition.messages.at(-1)?.offset ?? -1) < session.readOffset;
      if (partition.isOpen || !isRead || session.isEndTold) continue;
      session.isEndTold = true;
      const childPartitionIds = partition.children.map(({ id }) => BigInt(id));
      this.#say(stream, {
        case: "endPartitionSession",
        value: { partitionSessionId: BigInt(session.id), childPartitionIds },
      });
      return true;
    }
    if (stream.granted - stream.sent <= 0) return false;
    if (this.#rng.float() < this.faults.noise) this.#makeNoise(stream);
    const withData = ready.filter(
      ({ partition, readOffset }) => (partition.messages.at(-1)?.offset ?? -1) >= readOffset,
    );
    if (withData.length === 0) return false;
    const first = this.#rng.int(0, withData.length);
    // The protocol allows several partitions in one response.
    const count = this.#rng.float() < 0.2 ? Math.min(2, withData.length) : 1;
    const sessions = Array.from({ length: count }, (_, n) => withData[(first + n) % withData.length] as ModelSession);
    let bytes = 0;
    const partitionData = sessions.map((session) => {
      const { partition } = session;
      const at = partition.messages.findIndex(({ offset }) => offset >= session.readOffset);
      const messages = partition.messages.slice(at, at + this.#rng.int(1, 6));
      session.readOffset = (messages.at(-1) as ModelMessage).offset + 1;
      bytes += 100 + messages.reduce((sum, { size }) => sum + size, 0);
      const cut = this.#rng.int(0, messages.length);
      const batches = [messages.slice(0, cut), messages.slice(cut)]
        .filter((batch) => batch.length > 0)
        .map((batch) => ({
          producerId: `producer-${partition.id}`,
          codec: 1,
          messageData: batch.map(({ offset, seqNo }) => ({
            offset: BigInt(offset),
            seqNo: BigInt(seqNo),
            data: payload(`${partition.key}:${offset}`),
          })),
        }));
      return { partitionSessionId: BigInt(session.id), batches };
    });
    stream.sent += bytes;
    this.#say(stream, { case: "readResponse", value: { partitionData, bytesSize: BigInt(bytes) } });
    return true;
  }

  #makeNoise(stream: Stream): void {
    stream.peer.send(unknownFrame());
    stream.sent += 50;
    const messageData = [{ offset: 1n, data: payload("nobody's") }];
    const partitionData = [{ partitionSessionId: 999_999n, batches: [{ codec: 1, messageData }] }];
    this.#say(stream, { case: "readResponse", value: { partitionData, bytesSize: 50n } });
    this.#say(stream, {
      case: "commitOffsetResponse",
      value: { partitionsCommittedOffsets: [{ partitionSessionId: 999_999n, committedOffset: 5n }] },
    });
    this.#say(stream, { case: "updatePartitionSession", value: { partitionSessionId: 999_999n } });
  }

  #say(stream: Stream, message: Parameters<typeof serverFrame>[0]): void {
    stream.peer.send(serverFrame(message));
  }

  #delayMs(): number {
    return this.faults.latencyMs === 0 ? 0 : this.#rng.int(0, this.faults.latencyMs + 1);
  }

  async #pause(peer: Peer): Promise<void> {
    const delayMs = this.#delayMs();
    if (delayMs > 0) await this.#clock.sleep(delayMs, { signal: peer.signal }).catch(() => {});
  }
}
