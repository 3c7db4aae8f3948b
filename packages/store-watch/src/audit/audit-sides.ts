import type { Clock } from "@tidemark/clock";
import type { Cursor, Epoch, FrameSink, Source } from "../contract.ts";
import type { History, VersionRecord } from "../history-types.ts";
import { type AuditEntry, AuditSums, bucketOf, digestOf } from "./audit-sums.ts";

/** Entries between two breaths of the event loop. */
const entriesAtOnce = 500;

/** One side of the comparison. Keys are Latin-1 text. */
export class AuditSide {
  readonly sums = new AuditSums();
  /** Digests of the entries in the buckets that are looked at. */
  readonly collected = new Map<string, string>();
  /** The same without the attributes, which a record of a quarantined change does not have. */
  readonly bare = new Map<string, string>();
  /** Keys that the source could not decode. */
  readonly poisoned = new Set<string>();
  readonly #wanted: ReadonlySet<number> | undefined;

  /** @param wanted the buckets whose entries are collected one by one. */
  constructor(wanted?: ReadonlySet<number>) {
    this.#wanted = wanted;
  }

  clear(): void {
    this.sums.clear();
    this.collected.clear();
    this.bare.clear();
    this.poisoned.clear();
  }

  add(entry: AuditEntry): void {
    this.sums.add(entry);
    if (this.#wanted?.has(bucketOf(entry.key)) !== true) return;
    const key = textOf(entry.key);
    this.collected.set(key, digestOf(entry).toString("latin1"));
    this.bare.set(key, bareDigestOf(entry));
  }
}

/** Of everything that a record of a quarantined change has. */
export function bareDigestOf({ key, value, version }: Omit<AuditEntry, "attributes">): string {
  return digestOf({ key, value, version, attributes: undefined }).toString("latin1");
}

export interface SnapshotPosition {
  readonly epoch: Epoch;
  readonly cursor: Cursor;
}

/** Reads everything that the source has now. Rejects with what the source says when it cannot be reached. */
export async function readSource(
  source: Source,
  side: AuditSide,
  clock: Clock,
  signal: AbortSignal,
): Promise<SnapshotPosition> {
  const { versioned } = source.capabilities;
  const over = new AbortController();
  let epoch = "";
  let position: SnapshotPosition | undefined;
  let frames = 0;
  const sink: FrameSink = {
    write(frame) {
      if (position !== undefined || over.signal.aborted) return false;
      if (frame.type === "begin-snapshot") {
        ({ epoch } = frame);
        side.clear();
      } else if (frame.type === "change" && frame.value !== undefined) {
        const { key, value, version, attributes } = frame;
        side.add({ key, value, version: versioned ? version : undefined, attributes });
      } else if (frame.type === "poison") {
        side.poisoned.add(textOf(frame.key));
      } else if (frame.type === "snapshot-end") {
        position = { epoch, cursor: frame.cursor };
        over.abort();
      }
      return ++frames % entriesAtOnce !== 0;
    },
    ready: (wait) => clock.sleep(0, wait === undefined ? {} : { signal: wait }),
    alive() {},
    status(status) {
      if (status.state === "waiting") over.abort(new Error(status.error));
    },
  };
  const ended = AbortSignal.any([signal, over.signal]);
  try {
    if (source.snapshot === undefined) await source.run(undefined, sink, ended);
    else await source.snapshot(sink, ended);
  } catch (error) {
    signal.throwIfAborted();
    if (position === undefined) throw over.signal.aborted ? over.signal.reason : error;
  }
  if (position !== undefined) return position;
  throw new Error(over.signal.aborted ? String(over.signal.reason) : "the source ended before its snapshot did");
}

/** Reads everything that the history has of a stream at a cursor. */
export async function readHistory(
  history: Pick<History, "list">,
  stream: string,
  cursor: Cursor,
  isVersioned: boolean,
  side: AuditSide,
  signal: AbortSignal,
): Promise<void> {
  for (let after: string | undefined; ; ) {
    const page = await history.list(
      { stream },
      { at: { cursor }, limit: entriesAtOnce, signal, ...(after !== undefined && { after }) },
    );
    for (const record of page.items) side.add(entryOf(record, isVersioned));
    after = page.next;
    if (after === undefined) return;
  }
}

function entryOf({ key, value, version, attributes }: VersionRecord, isVersioned: boolean): AuditEntry {
  // What follows a ~ is the history's own.
  const base = isVersioned ? version.replace(/~.*$/s, "") : undefined;
  return { key, value: value ?? new Uint8Array(), version: base, attributes };
}

export function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}
