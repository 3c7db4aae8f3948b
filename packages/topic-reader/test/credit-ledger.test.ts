import fc from "fast-check";
import { expect, test } from "vitest";
import { CreditLedger } from "../src/credit-ledger.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";

test("X13: what is granted is what was received, plus the window, minus what is kept or owed", () => {
  const step = fc.record({ bytes: fc.integer({ min: 1, max: 3_000 }), keeps: fc.nat(5) });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000 }), fc.array(step, { maxLength: 100 }), (window, steps) => {
      const ledger = new CreditLedger(window);
      let available = ledger.open();
      const kept: number[] = [];
      const check = () => {
        expect(ledger.granted).toBe(ledger.received + window - ledger.held - ledger.owed);
        expect(ledger.available).toBe(available);
        // Nobody waits for credit while nothing is kept.
        if (ledger.held === 0) expect(available).toBeGreaterThan(0);
      };
      for (const { bytes, keeps } of steps) {
        // The first message is sent whenever there is credit, even if it is larger (topic.proto).
        if (available > 0) {
          ledger.receive(bytes);
          available -= bytes;
          kept.push(bytes);
          check();
        }
        while (kept.length > keeps) {
          const request = ledger.release(kept.shift() as number);
          available += request;
          if (request > 0) expect(request).toBeGreaterThanOrEqual(Math.max(1, Math.floor(window / 4)));
          check();
        }
      }
    }),
    { numRuns: isLong ? 20_000 : 500 },
  );
});
