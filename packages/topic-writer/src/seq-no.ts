/**
 * A sequence number: a number where it is exact, a bigint above 2^53. The two compare exactly with `<` and, in this
 * form, with `===`. The service takes int64 above 0.
 */
export type SeqNo = number | bigint;

const maxSeqNo = 2n ** 63n - 1n;

export function toSeqNo(value: SeqNo): SeqNo {
  if (typeof value === "number") return value;
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

/** The number `count` after this one. */
export function seqNoAfter(seqNo: SeqNo, count: number): SeqNo {
  if (typeof seqNo === "number") {
    const after = seqNo + count;
    if (after <= Number.MAX_SAFE_INTEGER) return after;
  }
  return toSeqNo(BigInt(seqNo) + BigInt(count));
}

/** What a manual sequence number has to be. */
export function isSeqNo(value: SeqNo): boolean {
  if (typeof value === "number") return Number.isSafeInteger(value) && value > 0;
  return value > 0n && value <= maxSeqNo;
}
