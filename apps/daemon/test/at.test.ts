import fc from "fast-check";
import { expect, test } from "vitest";
import { parseAt, parseDuration } from "../src/cli/at.ts";

const now = Date.UTC(2026, 10, 22, 12);

test("reads times, durations, positions, cursors and now", () => {
  expect(parseAt("2026-11-22T09:30:00Z", "--at", now)).toEqual({ timeMs: Date.UTC(2026, 10, 22, 9, 30) });
  expect(parseAt("2026-11-22 09:30:00.250+02:00", "--at", now)).toEqual({
    timeMs: Date.UTC(2026, 10, 22, 7, 30, 0, 250),
  });
  expect(parseAt("2026-11-22T09:30", "--at", now)).toEqual({ timeMs: new Date(2026, 10, 22, 9, 30).getTime() });
  expect(parseAt("2026-11-22", "--at", now)).toEqual({ timeMs: new Date(2026, 10, 22).getTime() });
  expect(parseAt("5m ago", "--at", now)).toEqual({ timeMs: now - 300_000 });
  expect(parseAt("1h30m", "--at", now)).toEqual({ timeMs: now - 5_400_000 });
  expect(parseAt("2 days ago", "--at", now)).toEqual({ timeMs: now - 2 * 86_400_000 });
  expect(parseAt("1234", "--at", now)).toEqual({ position: 1234n });
  expect(parseAt("cursor:5m", "--at", now)).toEqual({ cursor: "5m" });
  expect(parseAt("d1234", "--at", now)).toEqual({ cursor: "d1234" });
  expect(parseAt("now", "--at", now)).toEqual({});
});

test("keeps a position of 19 digits exactly", () => {
  expect(parseAt("9223372036854775807", "--at", now)).toEqual({ position: 2n ** 63n - 1n });
});

test("refuses everything else and shows what works", () => {
  for (const text of [
    "yesterdayish",
    "d12",
    "2026-13-40",
    "5 lightyears",
    "-5",
    "99999999999999999999999",
    "1h and 2m",
  ]) {
    expect(() => parseAt(text, "--from", now), text).toThrow(/--from must name a moment.*5m ago/);
  }
});

test("adds up every combination of units", () => {
  const parts = fc.tuple(fc.nat(99), fc.nat(99), fc.nat(99));
  fc.assert(
    fc.property(parts, fc.constantFrom("", " "), ([hours, minutes, seconds], space) => {
      const text = `${hours}h${space}${minutes}${space}min${space}${seconds}s`;
      return parseDuration(text) === hours * 3_600_000 + minutes * 60_000 + seconds * 1000;
    }),
  );
});
