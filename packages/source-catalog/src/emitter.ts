import {
  type FrameSink,
  parseSortableInteger,
  type ResumePoint,
  sortableInteger,
} from "@tidemark/store-watch/contract";
import type { CatalogState, PublishedRow } from "./catalog-state.ts";

const rowsAtOnce = 1_000;
/** A cycle publishes in one go, and the next one is seconds away. */
const maxBegins = 5;

/** Brings one follower up to what is published, in order, and no faster than it takes. */
export class Emitter {
  readonly #state: CatalogState;
  readonly #sink: FrameSink;
  readonly #signal: AbortSignal;
  #seq = 0n;

  constructor(state: CatalogState, sink: FrameSink, signal: AbortSignal) {
    this.#state = state;
    this.#sink = sink;
    this.#signal = signal;
  }

  /** Goes on after what the follower has, or says what is lost and begins with everything. */
  async begin(from: ResumePoint | undefined, newEpoch: () => string): Promise<void> {
    const { epoch } = this.#state;
    if (from?.epoch === epoch) {
      const reach = this.#state.reach(parseSortableInteger(from.cursor));
      if (reach === "ok") {
        this.#seq = parseSortableInteger(from.cursor);
        return;
      }
      if (reach === "forgotten") {
        const detail = "it was away for longer than deletions are remembered";
        this.#sink.write({ type: "gap", reason: "compacted", detail, from: from.cursor });
      } else {
        // Positions would go back, so they are those of another history from here on.
        this.#state.renew(newEpoch());
        const detail = "the state file has lost what it told last: an older copy, or a power cut";
        this.#sink.write({ type: "gap", reason: "source-lost", detail, from: from.cursor });
        this.#sink.write({ type: "reset", epoch: this.#state.epoch });
      }
    } else if (from !== undefined) {
      const detail = "the state file is another one: deletions meanwhile show only in the snapshot";
      this.#sink.write({ type: "gap", reason: "epoch-changed", detail, from: from.cursor });
      this.#sink.write({ type: "reset", epoch });
    }
    await this.#snapshot();
  }

  /** Everything published since. */
  async catchUp(): Promise<void> {
    for (;;) {
      const rows = this.#state.publishedAfter(this.#seq, rowsAtOnce);
      for (const row of rows) await this.#write(row);
      const last = rows.at(-1);
      if (last === undefined) break;
      this.#seq = last.seq;
      await this.#offer({ type: "commit", cursor: sortableInteger(this.#seq) });
    }
    // Also proves that it lives.
    await this.#offer({ type: "progress", cursor: sortableInteger(this.#seq) });
  }

  /**
   * Everything as it is at one moment, however long that takes to tell: what is published meanwhile makes it begin again.
   */
  snapshotAtOnce(): Promise<void> {
    return this.#snapshot(maxBegins);
  }

  async #snapshot(begins = 1): Promise<void> {
    const { epoch, seq } = this.#state;
    let received = 0;
    const poisoned: PublishedRow[] = [];
    this.#sink.status({ state: "snapshotting", received });
    await this.#offer({ type: "begin-snapshot", epoch });
    let at = 0n;
    for (;;) {
      const rows = this.#state.publishedAfter(at, rowsAtOnce);
      const last = rows.at(-1);
      if (last === undefined) break;
      at = last.seq;
      for (const row of rows) {
        if (row.error !== undefined) poisoned.push(row);
        if (row.value === undefined) continue;
        received++;
        await this.#offer({ type: "change", key: bytes(row.key), value: bytes(row.value) });
      }
      this.#sink.status({ state: "snapshotting", received });
    }
    if (begins > 1 && this.#state.seq !== seq) return this.#snapshot(begins - 1);
    // What was published while it was read is in it, once more after it, and equal.
    this.#seq = seq;
    await this.#offer({ type: "snapshot-end", cursor: sortableInteger(seq) });
    if (poisoned.length === 0) return;
    for (const row of poisoned) await this.#poison(row);
    await this.#offer({ type: "commit", cursor: sortableInteger(seq) });
  }

  async #write(row: PublishedRow): Promise<void> {
    const { key, value, error } = row;
    if (error === undefined || value !== undefined) {
      await this.#offer({ type: "change", key: bytes(key), value: value === undefined ? undefined : bytes(value) });
    }
    if (error !== undefined) await this.#poison(row);
  }

  #poison({ key, raw, error = "" }: PublishedRow): Promise<void> {
    return this.#offer({ type: "poison", key: bytes(key), raw: raw === undefined ? undefined : bytes(raw), error });
  }

  async #offer(frame: Parameters<FrameSink["write"]>[0]): Promise<void> {
    if (!this.#sink.write(frame)) await this.#sink.ready(this.#signal);
  }
}

const encoder = new TextEncoder();
const bytes = (text: string): Uint8Array => encoder.encode(text);
