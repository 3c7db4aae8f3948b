import { type Frame, sortableInteger } from "@tidemark/store-watch";
import { Level } from "../src/level.ts";
import type { TransactionalStore } from "../src/own-store-sink.ts";

type Transaction = Parameters<TransactionalStore["txn"]>[0];

interface Entry {
  readonly revision: bigint;
  readonly changes: readonly { readonly key: string; readonly value: string | undefined }[];
}

/** A store with revisions and transactions that compare, as etcd is one, and its watch as frames. */
export class SimStore {
  readonly values = new Map<string, { readonly value: string; readonly revision: bigint }>();
  readonly grown = new Level();
  readonly #entries: Entry[] = [];

  /** Everything that happened, in order. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  get revision(): bigint {
    return BigInt(this.#entries.length);
  }

  /** What users do. */
  transact(changes: Entry["changes"]): void {
    // As in etcd, deleting what is not there changes nothing.
    const real = changes.filter(({ key, value }) => value !== undefined || this.values.has(key));
    if (real.length === 0) return;
    const revision = this.revision + 1n;
    this.#entries.push({ revision, changes: real });
    for (const { key, value } of real) {
      if (value === undefined) this.values.delete(key);
      else this.values.set(key, { value, revision });
    }
    this.grown.raise();
  }

  txn({ compares, ops }: Transaction): { readonly succeeded: boolean; readonly revision: bigint } {
    const isAsExpected = compares.every(
      ({ key, expectedModRevision }) => (this.values.get(text(key))?.revision ?? 0n) === expectedModRevision,
    );
    if (isAsExpected) {
      this.transact(ops.map((op) => ({ key: text(op.key), value: op.type === "put" ? text(op.value) : undefined })));
    }
    return { succeeded: isAsExpected, revision: this.revision };
  }

  /** What the watch tells after a revision. */
  frames(after: bigint): Frame[] {
    return this.#entries
      .slice(Number(after))
      .flatMap(({ revision, changes }): Frame[] => [
        ...changes.map((change): Frame => toChange(change.key, change.value, revision)),
        { type: "commit", cursor: sortableInteger(revision) },
      ]);
  }

  /** The whole state, and which values after a revision nobody will ever hear of. */
  snapshot(after: bigint): { readonly frames: Frame[]; readonly missed: readonly string[] } {
    const current = new Set([...this.values.values()].map(({ value }) => value));
    const passed = this.#entries.slice(Number(after)).flatMap(({ changes }) => changes.map(({ value }) => value));
    return {
      frames: [
        { type: "begin-snapshot", epoch: "e" },
        ...[...this.values].map(([key, { value, revision }]) => toChange(key, value, revision)),
        { type: "snapshot-end", cursor: sortableInteger(this.revision) },
      ],
      missed: passed.filter((value): value is string => value !== undefined && !current.has(value)),
    };
  }
}

function toChange(key: string, value: string | undefined, revision: bigint): Frame {
  return {
    type: "change",
    key: Buffer.from(key),
    value: value === undefined ? undefined : Buffer.from(value),
    version: sortableInteger(revision),
  };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
