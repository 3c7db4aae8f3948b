import { expect } from "vitest";
import type { bannerLines } from "../../src/warmup-banner.ts";

type Banner = typeof bannerLines;

const nowMs = Date.parse("2026-01-01T00:00:00Z");
const iso = (offsetMs: number) => new Date(nowMs + offsetMs).toISOString();
const tenMinutes = 600_000;

export const migration = (changes: Readonly<Record<string, unknown>> = {}) => ({
  name: "fill",
  status: "running",
  state: "running",
  rowsProcessed: 12_000,
  rowsTotal: 71_000,
  totalKind: "exact",
  etaSec: 2.4,
  runNo: 1,
  waitsFor: [],
  ...changes,
});
export const health = (migrations: readonly unknown[], isRunning = true) => ({
  async_migrations: migrations,
  async_migrations_running: isRunning,
});

const texts = (banner: Banner, given: unknown, at = nowMs, dismissed?: ReadonlySet<string>) =>
  banner(given, at, dismissed).map(({ text }) => text);

/** What every banner has to do, one promise each. */
export const bannerPromises: Readonly<Record<string, (banner: Banner) => void>> = {
  "W1: nothing is shown when all is done": (banner) => {
    expect(banner(health([], false), nowMs)).toEqual([]);
    expect(banner({ ...health([migration({ status: "done" })], false), ready: true }, nowMs)).toEqual([]);
  },

  "W2: a line for each migration, with counts and ETA": (banner) => {
    const lines = banner(health([migration(), migration({ name: "late", rowsTotal: 0, etaSec: 0 })]), nowMs);
    expect(lines.map(({ text }) => text)).toEqual([
      "Migration fill: 12,000 / 71,000 rows (ETA 2s)",
      "Migration late: 12,000 rows",
    ]);
    expect(lines[0]?.progress).toBeCloseTo(12 / 71);
    for (const etaSec of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, "2", null]) {
      expect(texts(banner, health([migration({ etaSec })]))).toEqual(["Migration fill: 12,000 / 71,000 rows"]);
    }
  },

  "every state but done has a line": (banner) => {
    const line = (changes: Readonly<Record<string, unknown>>, isRunning = false) =>
      texts(banner, health([migration({ etaSec: 0, ...changes })], isRunning));
    expect(line({ state: "registered" })).toEqual([expect.stringMatching(/fill waits to be worked on/)]);
    expect(line({ state: "registered", waitsFor: ["a", "b"] })).toEqual(["Migration fill waits for a, b"]);
    expect(line({ state: "counting" })).toEqual(["Migration fill is counting its rows"]);
    expect(line({ state: "throttled", throttleReason: "wal: 40 MiB" })).toEqual([
      "Migration fill: 12,000 / 71,000 rows, held back: wal: 40 MiB",
    ]);
    expect(line({ state: "verifying" })).toEqual([expect.stringMatching(/checking what was written/)]);
    expect(line({ state: "of the future" })).toEqual(["Migration fill: 12,000 / 71,000 rows"]);
    expect(line({ status: "paused" })).toEqual(["Migration fill is paused at 12,000 / 71,000 rows"]);
    expect(line({ status: "stalled", heartbeatAt: iso(-12_000) })).toEqual([
      "Migration fill STALLED at 12,000 / 71,000 rows: no sign of life for 12s",
    ]);
    expect(line({ status: "failed", errorMessage: "no such column" })).toEqual([
      "Migration fill FAILED: no such column",
    ]);
    expect(line({ status: "failed" })).toEqual(["Migration fill FAILED: unknown error"]);
    expect(line({ status: "cancelled" })).toEqual(["Migration fill was cancelled at 12,000 / 71,000 rows"]);
    for (const status of ["unknown", "", undefined, null, 3, "pending_async", "constructor"]) {
      expect(line({ status })[0]).toBe("Migration fill is in a state that is not known here");
    }
    for (const malformed of [null, 3, "x", [], {}, { name: "" }]) {
      expect(texts(banner, health([malformed], false))).toEqual([expect.stringMatching(/cannot be read/)]);
    }
  },

  "fails closed: an error, a list that is missing and an answer that is none are lines": (banner) => {
    for (const given of [
      undefined,
      null,
      "ok",
      [],
      {},
      { status: "ok" },
      { async_migrations: null, async_migrations_running: false },
      { async_migrations: [], async_migrations_running: true, async_migrations_error: "disk I/O error" },
      { async_migrations: [], async_migrations_running: false, async_migrations_error: "" },
      { async_migrations: [], async_migrations_running: false, async_migrations_error: null },
    ]) {
      expect(texts(banner, given), JSON.stringify(given)).toEqual([expect.stringMatching(/cannot be read: ./)]);
    }
  },

  "what the server says is running is a line, also when it does not say what": (banner) => {
    expect(texts(banner, health([], true))).toEqual(["Migrations are running"]);
    expect(texts(banner, health([migration({ status: "done" })], true))).toEqual(["Migrations are running"]);
    const failed = migration({ status: "failed", endedAt: iso(0) });
    expect(texts(banner, health([failed], true))).toHaveLength(2);
    expect(texts(banner, { async_migrations: [] })).toEqual([expect.stringMatching(/not known/)]);
    expect(texts(banner, { ...health([], false), ready: false, reason: "loading" })).toEqual(["Warming up: loading"]);
  },

  "a failure goes by itself strictly after ten minutes": (banner) => {
    for (const status of ["failed", "cancelled"]) {
      const given = health([migration({ status, endedAt: iso(-tenMinutes) })], false);
      expect(banner(given, nowMs)).toMatchObject([{ isDismissible: true, untilMs: nowMs }]);
      expect(banner(given, nowMs + 1)).toEqual([]);
    }
  },

  "fails closed on missing and malformed times: such a failure stays until it is sent away": (banner) => {
    for (const endedAt of [undefined, null, "", "yesterday", 0, 1_700_000_000_000, {}]) {
      const given = health([migration({ status: "failed", endedAt })], false);
      const [line] = banner(given, nowMs + 100 * tenMinutes);
      expect(line, JSON.stringify(endedAt)).toMatchObject({ isDismissible: true });
      expect(line).not.toHaveProperty("untilMs");
      expect(banner(given, nowMs, new Set([line?.key ?? ""]))).toEqual([]);
    }
  },

  "what was sent away stays away, and the next failure of the same migration shows": (banner) => {
    const failed = (changes: Readonly<Record<string, unknown>> = {}) =>
      health([migration({ status: "failed", endedAt: iso(-1000), ...changes })], false);
    const dismissed = new Set(banner(failed(), nowMs).map(({ key }) => key));
    expect(banner(failed(), nowMs, dismissed)).toEqual([]);
    expect(banner(failed({ runNo: 2 }), nowMs, dismissed)).toHaveLength(1);
    expect(banner(failed({ endedAt: iso(-500) }), nowMs, dismissed)).toHaveLength(1);
    expect(banner(failed({ name: 'a "quoted" <b>name</b>' }), nowMs, dismissed)).toHaveLength(1);
  },

  "a share is never below 0, above 1 or not a number": (banner) => {
    for (const [rowsProcessed, rowsTotal, progress] of [
      [5, 10, 0.5],
      [50, 10, 1],
      [0, 0, undefined],
      [-5, 10, undefined],
      [Number.NaN, 10, undefined],
      ["5", "10", undefined],
      [5, Number.POSITIVE_INFINITY, undefined],
    ] as const) {
      expect(banner(health([migration({ rowsProcessed, rowsTotal })]), nowMs)[0]?.progress).toBe(progress);
    }
  },
};
