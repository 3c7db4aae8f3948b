import type { FrameSink } from "@tidemark/store-watch/contract";
import type { StreamConnection } from "@tidemark/stream";
import { CompactionGuard } from "./compaction-guard.ts";
import { EtcdError } from "./etcd-error.ts";
import type { EtcdLink } from "./etcd-link.ts";
import type { WatchRequest, WatchResponse } from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { ResolvedOptions } from "./options.ts";
import { ProgressSeeker } from "./progress-seeker.ts";
import { proveQuiet, type QuietProof } from "./quiet-proof.ts";
import type { ServerTraits } from "./server-version.ts";
import { assertNotCompacted } from "./store-examination.ts";
import { requestProgress } from "./watch-requests.ts";
import type { WatchState } from "./watch-state.ts";

export interface FollowerOptions {
  readonly connection: Pick<
    StreamConnection<WatchRequest, WatchResponse, unknown>,
    "fail" | "isLive" | "send" | "signal"
  >;
  readonly link: EtcdLink;
  readonly traits: ServerTraits;
  readonly watchId: bigint;
  /** The watch comes in fragments. */
  readonly isInFragments: boolean;
  readonly state: WatchState;
  readonly sink: FrameSink;
  readonly options: ResolvedOptions;
  /** Somebody waits for a frame at or past this revision. */
  readonly wanted: bigint;
}

/** How many revisions of one response are too few for it to have been cut off at etcd's limit of 1000. */
const notFull = 990;

/** From here on whole responses are dear in etcd's memory, */
const largeResponseBytes = 8 << 20;
/** and fragments of such events cost it next to nothing. */
const largeEventBytes = 4 << 10;

/** One watch that stands: its messages become frames, and it is made to speak when it is silent. */
export class Follower {
  readonly #options: FollowerOptions;
  readonly #write: FrameSink["write"];
  readonly #guard: CompactionGuard | undefined;
  readonly #heartbeat: Heartbeat;
  readonly #seeker: ProgressSeeker;
  #wanted: bigint;
  #proof: QuietProof | undefined;
  #isHeld = false;
  /** How many revisions the response has brought whose fragments are coming. */
  #revisionsBefore: number;
  /** What the response has brought so far. */
  #responseEvents = 0;
  #responseBytes = 0;

  constructor(options: FollowerOptions) {
    const { state, sink, connection, link, traits } = options;
    const { clock, heartbeatIntervalMs, silenceTimeoutMs } = options.options;
    this.#options = options;
    this.#write = (frame) => sink.write(frame);
    this.#guard = traits.mayLoseOnCompaction ? new CompactionGuard() : undefined;
    this.#wanted = options.wanted;
    this.#revisionsBefore = state.revisions;
    this.#heartbeat = new Heartbeat({
      clock,
      intervalMs: heartbeatIntervalMs,
      silenceMs: silenceTimeoutMs,
      ask: () => this.#ask(),
      onSilent: () => {
        const detail = `${link.endpoint.name} has said nothing for ${silenceTimeoutMs / 1000} s: is etcd frozen, or the network gone?`;
        connection.fail(new EtcdError("SILENT", detail));
      },
    });
    this.#seeker = new ProgressSeeker({
      clock,
      isReached: () => state.cursor >= this.#wanted,
      seek: () => this.#seek(),
    });
    this.#seeker.start();
  }

  /** Takes a message of the watch. A promise holds back reading. */
  take(message: WatchResponse): void | Promise<void> {
    const { state, watchId, traits } = this.#options;
    this.#heartbeat.seen();
    const isOurs = message.watchId === watchId;
    if (!isOurs && message.watchId !== everyWatch) return undefined;
    const last = message.events.at(-1)?.kv?.modRevision;
    // etcd's own notices come in order with the events; answers to our questions only where that is known.
    if (last === undefined && !isOurs && !traits.hasOrderedProgress) return undefined;
    const guard = this.#guard;
    if (guard === undefined) return this.#roomOrWait(this.#handOn(message));
    const isLive = last === undefined || last === message.header?.revision;
    if (guard.mustAskBefore(isLive)) return this.#askThenHandOn(message, guard);
    const hasRoom = this.#handOn(message);
    const isFull = message.fragment || state.revisions - this.#revisionsBefore >= notFull;
    if (!message.fragment) this.#revisionsBefore = state.revisions;
    if (guard.mustAskAfter(isLive, isFull)) return this.#thenAsk(guard, hasRoom);
    return this.#roomOrWait(hasRoom);
  }

  /** Makes sure that a frame at or past this revision comes. */
  want(revision: bigint): void {
    if (revision > this.#wanted) this.#wanted = revision;
    this.#seeker.start();
  }

  stop(): void {
    this.#heartbeat.stop();
    this.#seeker.stop();
  }

  #handOn(message: WatchResponse): boolean {
    const { state, isInFragments, link } = this.#options;
    const hasRoom =
      message.events.length > 0
        ? state.take(message, this.#write)
        : state.progress(message.header?.revision ?? 0n, this.#write);
    if (!isInFragments && this.#isBetterInFragments(message)) {
      throw new EtcdError("TOO_LARGE", `${link.endpoint.name} has a backlog of large values.`);
    }
    return this.#redeem() && hasRoom;
  }

  /** Whether more responses like this one are to come, and etcd had better split each. Asked for every part of it. */
  #isBetterInFragments({ events, header, fragment }: WatchResponse): boolean {
    const first = events[0]?.kv;
    const last = events.at(-1)?.kv;
    if (first === undefined || last === undefined) return false;
    // Both are views of the one buffer that the message came in.
    const bytes = this.#responseBytes + last.key.byteOffset - first.key.byteOffset;
    const count = this.#responseEvents + events.length;
    this.#responseBytes = fragment ? bytes : 0;
    this.#responseEvents = fragment ? count : 0;
    if (fragment || last.modRevision === header?.revision) return false;
    return bytes >= largeResponseBytes && bytes >= largeEventBytes * count;
  }

  /** Moves the cursor as far as is proven. */
  #redeem(): boolean {
    const { state } = this.#options;
    const proof = this.#proof;
    if (proof === undefined || state.cursor < proof.after || this.#isHeld) return true;
    this.#proof = undefined;
    return state.progress(proof.upTo, this.#write);
  }

  #roomOrWait(hasRoom: boolean): void | Promise<void> {
    return hasRoom ? undefined : this.#waitForRoom();
  }

  async #waitForRoom(): Promise<void> {
    const { sink, connection } = this.#options;
    this.#heartbeat.hold();
    this.#isHeld = true;
    try {
      await sink.ready(connection.signal);
    } finally {
      this.#isHeld = false;
      this.#heartbeat.release();
      this.#guard?.held();
    }
    if (!this.#redeem()) await this.#waitForRoom();
  }

  async #askThenHandOn(message: WatchResponse, guard: CompactionGuard): Promise<void> {
    const newest = await this.#askNotCompacted();
    if (newest === message.header?.revision) guard.cleared();
    if (!this.#handOn(message)) await this.#waitForRoom();
  }

  async #thenAsk(guard: CompactionGuard, hasRoom: boolean): Promise<void> {
    await this.#askNotCompacted();
    guard.cleared();
    if (!hasRoom) await this.#waitForRoom();
  }

  #askNotCompacted(): Promise<bigint> {
    const { link, options, state, connection } = this.#options;
    return assertNotCompacted(link, options.range, state.cursor, connection.signal);
  }

  /** Nothing came for a while. */
  #ask(): void {
    const { connection, traits } = this.#options;
    connection.send(requestProgress());
    const guard = this.#guard;
    if (guard?.isSuspect) {
      this.#watchOver(this.#askNotCompacted().then(() => guard.cleared()));
    } else if (traits.mayIgnoreProgress) {
      this.#watchOver(this.#askNotCompacted().then(() => this.#heartbeat.seen()));
    }
  }

  #watchOver(question: Promise<void>): void {
    question.catch((error: unknown) => this.#options.connection.fail(error));
  }

  async #seek(): Promise<void> {
    const { connection, traits, state, link, options } = this.#options;
    if (traits.hasOrderedProgress) {
      connection.send(requestProgress());
    } else if (state.anchor !== undefined) {
      this.#proof = await proveQuiet(link, options.range, state.anchor, connection.signal);
      try {
        if (connection.isLive) this.#redeem();
      } catch (error) {
        connection.fail(error);
      }
    }
  }
}

/** The watch id of an answer to a progress request. */
const everyWatch = -1n;
