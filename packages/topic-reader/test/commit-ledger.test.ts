import fc from "fast-check";
import { expect, test } from "vitest";
import { CommitLedger, type CommitWaiter } from "../src/commit-ledger.ts";
import { RangeSet } from "../src/range-set.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";

const waiter = (end: number, told: number[] = []): CommitWaiter => ({
  end,
  resolve: () => void told.push(end),
  reject: () => {},
});

const range = fc.tuple(fc.nat(30), fc.nat(8)).map(([start, length]) => ({ start, end: start + length }));

test("a set of ranges holds what a set of numbers holds, sorted and disjoint", () => {
  const step = fc.oneof(
    fc.record({ type: fc.constant("add" as const), range }),
    fc.record({ type: fc.constant("add missing" as const), range, other: fc.array(range, { maxLength: 4 }) }),
    fc.record({ type: fc.constant("drop below" as const), offset: fc.nat(40) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const set = new RangeSet();
      let model = new Set<number>();
      const addTo = (to: Set<number>, { start, end }: { start: number; end: number }) => {
        for (let n = start; n < end; n++) to.add(n);
      };
      for (const each of steps) {
        if (each.type === "add") {
          set.add(each.range.start, each.range.end);
          addTo(model, each.range);
        } else if (each.type === "add missing") {
          const others = new RangeSet();
          const not = new Set<number>();
          for (const other of each.other) {
            others.add(other.start, other.end);
            addTo(not, other);
          }
          set.addMissing(each.range.start, each.range.end, others);
          for (let n = each.range.start; n < each.range.end; n++) if (!not.has(n)) model.add(n);
        } else {
          set.dropBelow(each.offset);
          model = new Set([...model].filter((n) => n >= each.offset));
        }
        const { ranges } = set;
        expect(ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, n) => start + n))).toEqual(
          [...model].sort((a, b) => a - b),
        );
        for (const [index, { start, end }] of ranges.entries()) {
          expect(start).toBeLessThan(end);
          if (index > 0) expect((ranges[index - 1] as { end: number }).end).toBeLessThan(start);
        }
      }
    }),
    { numRuns: isLong ? 20_000 : 500 },
  );
});

test("X14: what is sent on a session is never empty, overlapping or below what is committed", () => {
  const step = fc.oneof(
    fc.record({ type: fc.constant("request" as const), range }),
    fc.record({ type: fc.constant("request" as const), range }),
    fc.constant({ type: "send" as const }),
    fc.record({ type: fc.constant("acknowledge" as const), share: fc.nat(4) }),
    fc.record({ type: fc.constant("new session" as const), back: fc.nat(3), gap: fc.nat(5) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
      const ledger = new CommitLedger();
      ledger.open(0, 0);
      const server = { committed: 0, pending: new RangeSet() };
      const waiting = new Set<number>();
      const settle = (waiters: readonly CommitWaiter[]) => {
        for (const { end } of waiters) {
          expect(end, "told early").toBeLessThanOrEqual(ledger.committed);
          waiting.delete(end);
        }
      };
      for (const each of steps) {
        if (each.type === "request") {
          const { start, end } = each.range;
          if (!ledger.request(start, end)) expect(Math.max(start, ledger.committed)).toBeGreaterThanOrEqual(end);
          else {
            ledger.wait(waiter(end));
            waiting.add(end);
          }
        } else if (each.type === "send") {
          for (const { start, end } of ledger.takeUnsent()) {
            expect(start).toBeLessThan(end);
            expect(start).toBeGreaterThanOrEqual(server.committed);
            for (const other of server.pending.ranges) expect(end <= other.start || start >= other.end).toBe(true);
            server.pending.add(start, end);
          }
        } else if (each.type === "acknowledge") {
          const first = server.pending.ranges[0];
          if (first?.start !== server.committed) continue;
          // The server may acknowledge a part of a range.
          server.committed = Math.max(server.committed + 1, first.end - each.share);
          server.pending.dropBelow(server.committed);
          settle(ledger.acknowledge(server.committed));
        } else {
          server.pending.takeAll();
          settle(ledger.open(server.committed, server.committed + each.gap));
        }
        expect(ledger.waiters).toBeGreaterThanOrEqual(waiting.size);
        for (const end of waiting) expect(end).toBeGreaterThan(ledger.committed);
      }
      expect(ledger.abandon().length).toBeGreaterThanOrEqual(waiting.size);
      expect(ledger.isPending).toBe(false);
    }),
    { numRuns: isLong ? 20_000 : 500 },
  );
});

test("X14: the same commit twice is one range on the wire", () => {
  const ledger = new CommitLedger();
  ledger.open(5, 0);
  expect(ledger.request(5, 10)).toBe(true);
  expect(ledger.request(5, 10)).toBe(true);
  expect(ledger.takeUnsent()).toEqual([{ start: 5, end: 10 }]);
  expect(ledger.request(3, 10)).toBe(true);
  expect(ledger.takeUnsent()).toEqual([]);
  ledger.acknowledge(10);
  expect(ledger.request(5, 10)).toBe(false);
});

test("a commit asked for before a reconnect is sent again, without what was committed meanwhile", () => {
  const ledger = new CommitLedger();
  const told: number[] = [];
  ledger.open(0, 0);
  ledger.request(0, 10);
  ledger.wait(waiter(10, told));
  ledger.takeUnsent();
  ledger.close();
  for (const { resolve } of ledger.open(4, 0)) resolve();
  expect(told).toEqual([]);
  expect(ledger.takeUnsent()).toEqual([{ start: 4, end: 10 }]);
  for (const { resolve } of ledger.acknowledge(10)) resolve();
  expect(told).toEqual([10]);
});

test("a range behind a hole that retention made is joined to what is committed", () => {
  const ledger = new CommitLedger();
  ledger.open(0, 0);
  ledger.request(20, 30);
  // Everything below 20 is gone by now, so nobody will ever deliver or commit it.
  ledger.open(0, 20);
  expect(ledger.takeUnsent()).toEqual([{ start: 0, end: 30 }]);
});

test("a range behind messages that nobody committed waits for them", () => {
  const ledger = new CommitLedger();
  ledger.open(0, 0);
  ledger.request(20, 30);
  expect(ledger.isReachable).toBe(false);
  ledger.open(0, 10);
  expect(ledger.takeUnsent()).toEqual([{ start: 20, end: 30 }]);
  ledger.request(0, 20);
  expect(ledger.isReachable).toBe(true);
});
