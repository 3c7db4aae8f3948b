import type { AsOf } from "@tidemark/store-watch";
import { DaemonError } from "../daemon-error.ts";

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  sec: 1000,
  second: 1000,
  m: 60_000,
  min: 60_000,
  minute: 60_000,
  h: 3_600_000,
  hour: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
  w: 604_800_000,
  week: 604_800_000,
};

/** Reads `1h30m`, `5m ago`, `2 days ago` as milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const parts = text
    .trim()
    .toLowerCase()
    .replace(/\s+ago$/, "");
  if (!/^(\d+(\.\d+)?\s*[a-z]+\s*)+$/.test(parts)) return undefined;
  let total = 0;
  for (const [, amount, unit = ""] of parts.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]+)/g)) {
    const ms = unitMs[unit] ?? unitMs[unit.replace(/s$/, "")];
    if (ms === undefined) return undefined;
    total += Number(amount) * ms;
  }
  return total;
}

const iso = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?$/i;

/**
 * Reads a moment: an ISO time (without a zone it is local), a duration before now, a position (digits), a cursor
 * (`cursor:…`, or a letter and as many digits as it stands for) or `now`.
 *
 * @throws {DaemonError} `USAGE`, naming the flag.
 */
export function parseAt(text: string, flag: string, nowMs: number): AsOf {
  const given = text.trim();
  if (given === "" || given.toLowerCase() === "now") return {};
  if (/^\d+$/.test(given) && BigInt(given) < 2n ** 63n) return { position: BigInt(given) };
  if (given.startsWith("cursor:")) return { cursor: given.slice("cursor:".length) };
  const sortable = /^([a-z])(\d+)$/.exec(given);
  if (sortable !== null && (sortable[1] ?? "").charCodeAt(0) - 96 === sortable[2]?.length) return { cursor: given };
  const durationMs = parseDuration(given);
  if (durationMs !== undefined) return { timeMs: Math.round(nowMs - durationMs) };
  if (iso.test(given)) {
    // A date alone would be UTC while a date with a time is local; here both are local.
    const timeMs = Date.parse(given.length === 10 ? `${given}T00:00` : given.replace(" ", "T"));
    if (!Number.isNaN(timeMs)) return { timeMs };
  }
  throw new DaemonError("USAGE", `${flag} must name a moment, got ${JSON.stringify(text)}.`, {
    fix: 'Use a time (2026-11-22T09:30, 2026-11-22T09:30:00Z), a duration ("5m ago", 1h30m), a position (1234) or a cursor (cursor:d1234).',
  });
}
