import { decodeWriteAcks, type WriteColumns } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { AckQueue } from "../src/service/ack-queue.ts";
import { PendingWrite } from "../src/storage/partition.ts";

const listener = { onWritten: () => {}, onWriteFailed: () => {} };

/** A request of `length` messages from `firstSeqNo` on, of which the first `skipped` had been written before. */
function request(firstSeqNo: number, length: number, skipped = 0): PendingWrite {
  const columns = {
    length,
    frame: new Uint8Array(0),
    seqNo: (index: number) => firstSeqNo + index,
    createdAtMs: () => Number.NaN,
  } as unknown as WriteColumns;
  const write = new PendingWrite(columns, skipped, undefined, 0, listener);
  write.firstOffset = firstSeqNo + skipped;
  return write;
}

/** Responses as runs: the first number, how many, and what became of them. */
function responses(queue: AckQueue): (readonly (readonly [number, number, number])[])[] {
  const all = [];
  for (let frame = queue.next(0); frame !== undefined; frame = queue.next(0)) {
    const acks = decodeWriteAcks(frame);
    all.push(
      Array.from({ length: acks?.length ?? 0 }, (_, run) => {
        return [Number(acks?.firstSeqNo(run)), acks?.count(run) ?? 0, acks?.kind(run) ?? 0] as const;
      }),
    );
  }
  return all;
}

test("requests that the disk took together are acknowledged in one response, others in one of their own", () => {
  const queue = new AckQueue();
  const writes = [request(1, 2), request(3, 3), request(6, 1), request(7, 2, 1), request(9, 1)] as const;
  for (const write of writes) queue.push(write, false, 0);
  expect(queue.next(0)).toBeUndefined();
  // Those behind wait for the oldest.
  writes[1].onStored(3, 0, 1.5);
  expect(queue.next(0)).toBeUndefined();
  writes[0].onStored(1, 0, 1.5);
  expect(responses(queue)).toEqual([[[1, 5, 2]]]);
  expect(queue.isEmpty).toBe(false);
  writes[2].onStored(6, 0, 2);
  writes[3].onStored(8, 0, 2);
  writes[4].onStored(9, 0, 3);
  expect(responses(queue)).toEqual([
    [
      [6, 1, 2],
      [7, 1, 3],
      [8, 1, 2],
    ],
    [[9, 1, 2]],
  ]);
  expect(queue.isEmpty).toBe(true);
});

test("acks that are many go out in responses of about 32 KiB", () => {
  const queue = new AckQueue();
  const writes = Array.from({ length: 1000 }, (_, index) => request(1 + index * 10, 10));
  for (const write of writes) queue.push(write, false, 0);
  for (const write of writes) write.onStored(write.firstOffset, 0, 1);
  const counts = responses(queue).map((runs) => runs.reduce((sum, [, count]) => sum + count, 0));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(10_000);
  expect(counts.length).toBeGreaterThan(2);
  expect(Math.max(...counts)).toBeLessThan(4000);
});
