import { ClockError, type Rng, seededRng, systemRng } from "@tidemark/clock";
import fc from "fast-check";
import { expect, test } from "vitest";

const rngs: Record<string, () => Rng> = { systemRng: () => systemRng, seededRng: () => seededRng(1) };

for (const [name, create] of Object.entries(rngs)) {
  test(`${name}: int stays within its bounds, whatever they are`, () => {
    const rng = create();
    const bound = fc.integer({ min: -(2 ** 52), max: 2 ** 52 });
    fc.assert(
      fc.property(bound, bound, (a, b) => {
        fc.pre(a !== b);
        const [min, max] = a < b ? [a, b] : [b, a];
        const drawn = rng.int(min, max);
        expect(Number.isSafeInteger(drawn) && drawn >= min && drawn < max).toBe(true);
      }),
    );
  });

  test(`${name}: int is uniform, also where the range does not divide 2^32`, () => {
    const rng = create();
    const draws = 60_000;
    // A third of 2^32 twice: with modulo bias the first half would come up twice as often as the last.
    const counts = [0, 0, 0];
    const range = 3 * 2 ** 30;
    for (let index = 0; index < draws; index++) counts[Math.floor(rng.int(0, range) / 2 ** 30)]! += 1;
    for (const count of counts) expect(Math.abs(count - draws / 3)).toBeLessThan(6 * Math.sqrt(draws / 3));
  });

  test(`${name}: float is in [0, 1) and uses both words`, () => {
    const rng = create();
    const drawn = Array.from({ length: 10_000 }, () => rng.float());
    expect(drawn.every((value) => value >= 0 && value < 1)).toBe(true);
    const mean = drawn.reduce((sum, value) => sum + value, 0) / drawn.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.03);
    expect(drawn.some((value) => (value * 2 ** 53) % 2 ** 21 !== 0)).toBe(true);
  });

  test(`${name}: uuid is version 4 and does not repeat`, () => {
    const rng = create();
    const uuids = Array.from({ length: 1_000 }, () => rng.uuid());
    for (const uuid of uuids)
      expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(new Set(uuids).size).toBe(uuids.length);
  });

  test(`${name}: bytes fills any length`, () => {
    const rng = create();
    for (const length of [0, 1, 3, 4, 5, 65_536, 200_001]) {
      const bytes = rng.bytes(length);
      expect(bytes).toHaveLength(length);
      if (length > 65_536) expect(new Set(bytes.subarray(65_536)).size).toBe(256);
    }
  });

  test(`${name}: pick takes every item and refuses an empty list`, () => {
    const rng = create();
    const items = ["a", "b", "c"];
    expect(new Set(Array.from({ length: 200 }, () => rng.pick(items)))).toEqual(new Set(items));
    expect(() => rng.pick([])).toThrow(ClockError);
  });

  test(`${name}: int refuses an empty range, a fraction and what is too wide`, () => {
    const rng = create();
    for (const [min, max] of [
      [1, 1],
      [2, 1],
      [0, 0.5],
      [0, Number.NaN],
      [-(2 ** 53) + 1, 2 ** 53 - 1],
    ] as const) {
      expect(() => rng.int(min, max)).toThrow(ClockError);
    }
  });
}

test("equal seeds draw the same, different seeds do not", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (seed) => {
      const take = (rng: Rng) => Array.from({ length: 4 }, () => rng.uint32());
      expect(take(seededRng(seed))).toEqual(take(seededRng(seed)));
      expect(take(seededRng(seed))).not.toEqual(take(seededRng(seed ^ 1n)));
    }),
  );
});

test("a fork depends on the seed and its label, not on what was drawn", () => {
  const fresh = seededRng(5).fork("disk");
  const used = seededRng(5);
  used.bytes(100);
  expect(used.fork("disk").uuid()).toBe(fresh.uuid());
  expect(seededRng(5).fork("disk").uint32()).not.toBe(seededRng(5).fork("net").uint32());
  expect(seededRng(5).fork("a").fork("b").uint32()).not.toBe(seededRng(5).fork("b").fork("a").uint32());
});

test("the draws of a seed never change between versions", () => {
  const rng = seededRng(1);
  expect([rng.uint32(), rng.uint32(), rng.int(0, 1_000), rng.float(), rng.uuid()]).toMatchInlineSnapshot(`
    [
      1695105466,
      1340898302,
      703,
      0.31471795408040726,
      "63f85efe-69d5-4ee6-a4ca-58d1ba0eb954",
    ]
  `);
});

test("a seed must be an integer", () => {
  expect(() => seededRng(0.5)).toThrow(ClockError);
  expect(() => seededRng(Number.NaN)).toThrow(ClockError);
  expect(seededRng(-1).uint32()).toBe(seededRng(2n ** 64n - 1n).uint32());
});
