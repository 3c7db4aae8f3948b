import { type ChangeFrame, type Frame, sortableInteger } from "@tidemark/store-watch/contract";
import { EtcdError } from "./etcd-error.ts";
import { Event_EventType, type KeyValue } from "./gen/etcd/mvccpb/kv_pb.ts";
import type { WatchResponse } from "./gen/etcd/etcdserverpb/rpc_pb.ts";

/** A put that was handed on: what it was at `revision` it must be for ever, in this history. */
export interface Anchor {
  readonly key: Uint8Array;
  readonly revision: bigint;
  readonly createRevision: bigint;
  readonly version: bigint;
}

/**
 * Turns the messages of one watch into frames. It owns the cursor: the last revision that was handed on complete.
 *
 * What etcd promises: events come in the order of their revisions, and all events of one revision come in one response,
 * which may be split into fragments anywhere. What etcd 3.4 does not keep: it repeats events, and it goes back in time
 * after a member was restored from a snapshot. The rules:
 *
 * - E1 A revision is complete when a later one is seen, or at the end of a response (its last fragment). Only then it is
 *   committed. The cursor is its number and never a header's revision, which is the store's and not the events'.
 * - E2 The cursor only grows. Events at or below it were handed on already and are dropped.
 * - E3 A complete revision is committed at once, also in the middle of a fragmented response. Nothing is held back: what
 *   belongs to the revision under way is handed on as it comes, and taken back by `discard` if the stream breaks.
 * - E4 Events out of order above the cursor break the stream. It is read again from the cursor.
 * - E5 Progress moves the cursor between responses only, and only where it was told in the order of the events.
 */
export class WatchState {
  #cursor: bigint;
  /** The revision whose changes are being handed on; 0: none. */
  #open = 0n;
  /** More fragments of a response are to come. */
  #isPartial = false;
  #version = "";
  #last: KeyValue | undefined;
  #anchor: Anchor | undefined;
  #duplicates = 0;
  #revisions = 0;

  constructor(cursor: bigint, anchor?: Anchor) {
    this.#cursor = cursor;
    this.#anchor = anchor;
  }

  get cursor(): bigint {
    return this.#cursor;
  }

  /** Whether changes were handed on that are not committed. */
  get isOpen(): boolean {
    return this.#open !== 0n;
  }

  /** The last put that is known; undefined before there was one. */
  get anchor(): Anchor | undefined {
    return this.#anchor;
  }

  /** How many revisions were handed on complete. */
  get revisions(): number {
    return this.#revisions;
  }

  /** How many events came again. */
  get duplicates(): number {
    return this.#duplicates;
  }

  /**
   * Hands on the events of one response or fragment. False if `write` ever said so.
   *
   * @throws {EtcdError} `PROTOCOL` (E4). The state is then as after `break`, but nothing was discarded yet.
   */
  take({ events, fragment }: WatchResponse, write: (frame: Frame) => boolean): boolean {
    let hasRoom = true;
    let open = this.#open;
    this.#isPartial = fragment;
    for (let index = 0; index < events.length; index++) {
      const event = events[index];
      const kv = event?.kv;
      if (event === undefined || kv === undefined) throw new EtcdError("PROTOCOL", "etcd sent an event without a key");
      const revision = kv.modRevision;
      if (revision !== open) {
        if (revision <= this.#cursor) {
          this.#duplicates++;
          continue;
        }
        if (open !== 0n) {
          if (revision < open) throw outOfOrder(revision, open);
          if (!this.#commit(open, write)) hasRoom = false;
        }
        open = revision;
        this.#open = revision;
        this.#version = sortableInteger(revision);
      }
      const isPut = event.type === Event_EventType.PUT;
      if (isPut) this.#last = kv;
      if (!write(changeFrame(kv, isPut, this.#version))) hasRoom = false;
    }
    if (!fragment && open !== 0n && !this.#commit(open, write)) hasRoom = false;
    this.#rememberLast();
    return hasRoom;
  }

  /** Nothing happened up to `revision`, as etcd said in order with the events. Ignored while a response is under way. */
  progress(revision: bigint, write: (frame: Frame) => boolean): boolean {
    if (this.#open !== 0n || this.#isPartial || revision <= this.#cursor) return true;
    this.#cursor = revision;
    return write({ type: "progress", cursor: sortableInteger(revision) });
  }

  /** The stream broke: what is not committed will come again. */
  break(write: (frame: Frame) => boolean): void {
    if (this.#open !== 0n) write({ type: "discard" });
    this.#open = 0n;
    this.#isPartial = false;
    this.#last = undefined;
  }

  #commit(revision: bigint, write: (frame: Frame) => boolean): boolean {
    this.#cursor = revision;
    this.#open = 0n;
    this.#revisions++;
    return write({ type: "commit", cursor: this.#version });
  }

  /** A copy: the key is a view of the whole response. */
  #rememberLast(): void {
    const last = this.#last;
    if (last === undefined || last.modRevision > this.#cursor) return;
    this.#anchor = anchorOf(last);
    this.#last = undefined;
  }
}

/** What to remember of a put. */
export function anchorOf({ key, modRevision, createRevision, version }: KeyValue): Anchor {
  return { key: Uint8Array.from(key), revision: modRevision, createRevision, version };
}

/** Always of one shape, because this is the one object that is made per event. */
function changeFrame(kv: KeyValue, isPut: boolean, version: string): ChangeFrame {
  return {
    type: "change",
    key: kv.key,
    value: isPut ? kv.value : undefined,
    version,
    attributes: isPut && kv.lease !== 0n ? `{"lease":"${kv.lease}"}` : undefined,
  };
}

function outOfOrder(revision: bigint, open: bigint): EtcdError {
  return new EtcdError(
    "PROTOCOL",
    `etcd sent an event of revision ${revision} after one of ${open}; reading again from the last complete revision`,
  );
}
