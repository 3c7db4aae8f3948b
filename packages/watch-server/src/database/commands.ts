import { type PackedRows, RowReader, RowWriter } from "./packed-rows.ts";

/** A condition on one key: what its last change was. 0: the key must not exist. */
export interface StoredCompare {
  readonly key: Uint8Array;
  readonly expectedModRevision: number;
}

/** Value undefined: delete. */
export interface StoredOp {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/** Every write is one of these: all operations at one revision if all compares hold, else nothing. */
export interface WriteCommand {
  readonly compares: readonly StoredCompare[];
  readonly ops: readonly StoredOp[];
}

/** A key's value with where it stands in the history. */
export interface StoredKeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
}

export interface WriteOutcome {
  readonly succeeded: boolean;
  /** 0: it changed nothing, so it has no revision of its own. */
  readonly ownRevision: number;
  /** The store's revision when it was decided. */
  readonly revision: number;
  /** Per operation, whether it changed anything: a deletion of an absent key does not. Empty when it did not succeed. */
  readonly effective: readonly boolean[];
  /** What the key of the first compare has, where the compares did not hold. */
  readonly actual: StoredKeyValue | undefined;
}

export function packCommand(rows: RowWriter, command: WriteCommand): void {
  rows.number(command.compares.length);
  for (const compare of command.compares) {
    rows.bytes(compare.key);
    rows.number(compare.expectedModRevision);
  }
  rows.number(command.ops.length);
  for (const op of command.ops) {
    rows.bytes(op.key);
    rows.bytes(op.value);
  }
}

export function unpackCommand(rows: RowReader): WriteCommand {
  const compares = Array.from({ length: rows.number() }, () => ({
    key: rows.someBytes(),
    expectedModRevision: rows.number(),
  }));
  const ops = Array.from({ length: rows.number() }, () => ({ key: rows.someBytes(), value: rows.bytes() }));
  return { compares, ops };
}

export function packOutcome(rows: RowWriter, outcome: WriteOutcome): void {
  rows.number(outcome.succeeded ? 1 : 0);
  rows.number(outcome.ownRevision);
  rows.number(outcome.revision);
  rows.number(outcome.effective.length);
  for (const isEffective of outcome.effective) rows.number(isEffective ? 1 : 0);
  rows.number(outcome.actual === undefined ? 0 : 1);
  if (outcome.actual !== undefined) packKeyValue(rows, outcome.actual);
}

export function unpackOutcome(rows: RowReader): WriteOutcome {
  const succeeded = rows.number() === 1;
  const ownRevision = rows.number();
  const revision = rows.number();
  const effective = Array.from({ length: rows.number() }, () => rows.number() === 1);
  const actual = rows.number() === 1 ? unpackKeyValue(rows) : undefined;
  return { succeeded, ownRevision, revision, effective, actual };
}

export function packKeyValue(rows: RowWriter, kv: StoredKeyValue): void {
  rows.bytes(kv.key);
  rows.bytes(kv.value);
  rows.number(kv.modRevision);
  rows.number(kv.createRevision);
  rows.number(kv.version);
}

function unpackKeyValue(rows: RowReader): StoredKeyValue {
  return {
    key: rows.someBytes(),
    value: rows.someBytes(),
    modRevision: rows.number(),
    createRevision: rows.number(),
    version: rows.number(),
  };
}

export function unpackKeyValues(packed: PackedRows): StoredKeyValue[] {
  const rows = new RowReader(packed);
  const kvs: StoredKeyValue[] = [];
  while (rows.hasMore) kvs.push(unpackKeyValue(rows));
  return kvs;
}
