import { type Bytes, describeKey, toBytes } from "./bytes.ts";
import type { StoredCompare, StoredOp, WriteCommand } from "./database/commands.ts";
import { StoreError } from "./store-error.ts";
import type { StoreOptions } from "./store-options.ts";
import type { TxnRequest } from "./store-types.ts";

export type Limits = Required<Pick<StoreOptions, "maxKeyBytes" | "maxValueBytes" | "maxTxnOps" | "maxTxnBytes">>;

/** @throws StoreError `ARGUMENT_INVALID` for an empty key, `TOO_LARGE` for a long one. */
export function checkedKey(key: Bytes, limits: Limits): Uint8Array {
  const bytes = toBytes(key);
  if (bytes.length === 0) throw new StoreError("ARGUMENT_INVALID", "a key must not be empty");
  if (bytes.length > limits.maxKeyBytes) {
    throw new StoreError("TOO_LARGE", `a key may have ${limits.maxKeyBytes} bytes (maxKeyBytes), got ${bytes.length}`);
  }
  return bytes;
}

/**
 * The one form in which writes reach the database.
 *
 * @throws StoreError `ARGUMENT_INVALID`, `TOO_LARGE`
 */
export function toCommand({ compares = [], ops }: TxnRequest, limits: Limits): WriteCommand {
  if (ops.length > limits.maxTxnOps) {
    throw new StoreError(
      "TOO_LARGE",
      `a transaction may have ${limits.maxTxnOps} operations (maxTxnOps), got ${ops.length}`,
    );
  }
  if (compares.length > limits.maxTxnOps) {
    const expected = `a transaction may have ${limits.maxTxnOps} compares (maxTxnOps)`;
    throw new StoreError("TOO_LARGE", `${expected}, got ${compares.length}`);
  }
  let bytes = 0;
  const storedCompares = compares.map((compare): StoredCompare => {
    const key = checkedKey(compare.key, limits);
    bytes += key.length;
    return { key, expectedModRevision: toRevision("expectedModRevision", compare.expectedModRevision) };
  });
  const storedOps = ops.map((op): StoredOp => {
    const key = checkedKey(op.key, limits);
    const value = op.type === "put" ? toBytes(op.value) : undefined;
    if (value !== undefined && value.length > limits.maxValueBytes) {
      const expected = `a value may have ${limits.maxValueBytes} bytes (maxValueBytes)`;
      throw new StoreError("TOO_LARGE", `${expected}, got ${value.length} for key ${describeKey(key)}`);
    }
    bytes += key.length + (value?.length ?? 0);
    return { key, value };
  });
  if (bytes > limits.maxTxnBytes) {
    throw new StoreError("TOO_LARGE", `a transaction may have ${limits.maxTxnBytes} bytes (maxTxnBytes), got ${bytes}`);
  }
  if (storedOps.length > 1) refuseDuplicates(storedOps);
  return { compares: storedCompares, ops: storedOps };
}

/** A revision from outside, as stores count. @throws StoreError `ARGUMENT_INVALID` for a negative one. */
export function toRevision(name: string, revision: bigint): number {
  if (revision < 0n) throw new StoreError("ARGUMENT_INVALID", `${name} must not be negative, got ${revision}`);
  // Beyond every store's head either way, so precision does not matter.
  return Number(revision);
}

/** Two changes of one key at one revision would have no order that a watcher can rely on. */
function refuseDuplicates(ops: readonly StoredOp[]): void {
  const seen = new Set<string>();
  for (const { key } of ops) {
    const name = Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
    if (seen.has(name)) {
      throw new StoreError("ARGUMENT_INVALID", `a transaction may name a key once, got ${describeKey(key)} twice`);
    }
    seen.add(name);
  }
}
