import {
  heldTo,
  initialServo,
  nextServo,
  percentile90,
  servoDefaults,
  type ServoState,
} from "@tidemark/migrate/internal";
import fc from "fast-check";
import { expect, test } from "vitest";

type Options = Required<typeof servoDefaults>;
const options: Options = { ...servoDefaults };

/** Chunks of a table whose rows cost `costMs` after a fixed `overheadMs`, with noise. */
function* chunksOf(
  costMs: (chunk: number) => number,
  {
    overheadMs = 0,
    noise = () => 1,
    tuning = options,
  }: { overheadMs?: number; noise?: () => number; tuning?: Options } = {},
): Generator<{ readonly rows: number; readonly tookMs: number; readonly note: string | undefined }, never> {
  let state = initialServo(tuning);
  for (let chunk = 0; ; chunk++) {
    const { rows } = state;
    const tookMs = (overheadMs + rows * costMs(chunk)) * noise();
    const [next, note] = nextServo(state, { type: "measured", rows, tookMs }, tuning);
    state = next;
    yield { rows, tookMs, note };
  }
}

const take = <T>(chunks: Generator<T, never>, count: number): T[] =>
  Array.from({ length: count }, () => chunks.next().value);

test("M12: after any step of the cost it is within 30 % of its target in 20 chunks, and never twice far above it", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.0005, max: 0.05, noNaN: true }),
      fc.double({ min: 0.01, max: 100, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (before, factor, overheadMs) => {
        const after = before * factor;
        // A row that alone is dearer than the target, or so cheap that the largest chunk is too small, has no size.
        fc.pre(after * 3 < options.targetMs && after * options.maxRows > 2 * options.targetMs);
        fc.pre(before * options.maxRows > 2 * options.targetMs);
        const step = 60;
        const chunks = take(
          chunksOf((chunk) => (chunk < step ? before : after), { overheadMs }),
          step + 40,
        );
        for (const { tookMs } of chunks.slice(step + 20)) {
          expect(tookMs).toBeGreaterThan(options.targetMs * 0.7 - after);
          expect(tookMs).toBeLessThan(options.targetMs * 1.3 + after);
        }
        for (const [index, { tookMs }] of chunks.slice(step).entries()) {
          const next = chunks[step + index + 1];
          if (tookMs > 5 * options.targetMs && next !== undefined)
            expect(next.tookMs).toBeLessThan(5 * options.targetMs);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("the size stays within its bounds, grows by at most half, and is whole, whatever is measured", () => {
  const event = fc.oneof(
    { weight: 9, arbitrary: fc.record({ type: fc.constant("measured" as const), tookMs: fc.double() }) },
    { weight: 1, arbitrary: fc.constant({ type: "cut" as const }) },
  );
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 60 }),
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 50, max: 100_000 }),
      (events, minRows, maxRows) => {
        const tuning = { ...options, minRows, maxRows };
        let state = initialServo(tuning);
        for (const each of events) {
          const { rows } = state;
          [state] = nextServo(state, each.type === "cut" ? each : { ...each, rows }, tuning);
          expect(Number.isSafeInteger(state.rows)).toBe(true);
          expect(state.rows).toBeGreaterThanOrEqual(minRows);
          expect(state.rows).toBeLessThanOrEqual(Math.min(maxRows, Math.max(rows * 1.5, rows + 1)));
        }
      },
    ),
  );
});

test("one slow chunk among fast ones changes little, since nine in ten count", () => {
  const chunks = take(
    chunksOf((chunk) => (chunk === 50 ? 0.004 : 0.001)),
    60,
  );
  expect(chunks[51]?.rows).toBeGreaterThan((chunks[50]?.rows ?? 0) * 0.9);
});

test("noise does not make it swing: the time of a chunk stays within twice its target", () => {
  fc.assert(
    fc.property(fc.infiniteStream(fc.double({ min: 0.7, max: 1.4, noNaN: true })), (stream) => {
      const noise = () => stream.next().value as number;
      for (const { tookMs } of take(
        chunksOf(() => 0.002, { noise }),
        200,
      ))
        expect(tookMs).toBeLessThan(20);
    }),
    { numRuns: 50 },
  );
});

test("a chunk of more than five times the target shrinks the next at once, and is told", () => {
  const [slow, next] = take(
    chunksOf(() => 10),
    2,
  );
  expect(slow).toMatchObject({ rows: 20, note: "panic" });
  expect(next?.rows).toBe(1);
});

test("a chunk that the database cut short is halved, down to the smallest", () => {
  let state: ServoState = { rows: 9, chunks: [{ rows: 9, tookMs: 9 }] };
  const sizes: number[] = [];
  for (let n = 0; n < 5; n++) {
    const [next, note] = nextServo(state, { type: "cut" }, options);
    expect(note).toBe("split");
    state = next;
    sizes.push(state.rows);
  }
  expect(sizes).toEqual([4, 2, 1, 1, 1]);
});

test("waits that no size can shorten do not make chunks ever smaller, nor larger than undisturbed ones", () => {
  fc.assert(
    fc.property(fc.infiniteStream(fc.integer({ min: 0, max: 1000 })), (stream) => {
      // Half of the chunks wait for longer than the target before a row is looked at.
      let state = initialServo(options);
      const sizes: number[] = [];
      for (let n = 0; n < 300; n++) {
        const { rows } = state;
        const tookMs = 1 + ((stream.next().value as number) * 24) / 1000 + rows * 0.02;
        [state] = nextServo(state, { type: "measured", rows, tookMs }, options);
        sizes.push(rows);
      }
      const average = sizes.slice(50).reduce((sum, rows) => sum + rows, 0) / (sizes.length - 50);
      expect(average).toBeGreaterThan(10);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(options.targetMs / 0.02);
    }),
    { numRuns: 50 },
  );
});

test("a percentile is a value that was measured", () => {
  expect(percentile90([])).toBe(0);
  expect(percentile90([3])).toBe(3);
  expect(percentile90([10, 1, 2, 3, 4, 5, 6, 7, 8, 9])).toBe(9);
});

test("after several chunks of one size the next one grows as if it came behind one", () => {
  let state: ServoState = { rows: 100, chunks: [] };
  for (let chunk = 0; chunk < 4; chunk++) {
    [state] = nextServo(state, { type: "measured", rows: 100, tookMs: 1 }, options);
  }
  expect(state.rows).toBeGreaterThan(400);
  expect(heldTo(state, 100, options).rows).toBe(150);
  expect(heldTo({ ...state, rows: 80 }, 100, options).rows).toBe(80);
  expect(heldTo(state, 1, options).rows).toBe(2);
});
