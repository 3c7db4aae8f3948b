const units = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
] as const;

/** `just now`, `12s ago`, `3h 5m ago`, or the date for what is over a month old. */
export function formatAgo(timeMs: number, nowMs: number): string {
  const passedMs = nowMs - timeMs;
  if (passedMs < -1000) return `in ${formatDuration(-passedMs)}`;
  if (passedMs < 1000) return "just now";
  if (passedMs > 30 * 86_400_000) return formatTime(timeMs).slice(0, 10);
  return `${formatDuration(passedMs)} ago`;
}

/** The two largest units: `850ms`, `12s`, `3h 5m`, `2d 4h`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)}ms`;
  const index = units.findIndex(([, size]) => durationMs >= size);
  const [unit, size] = units[index] ?? units[3];
  const [nextUnit, nextSize] = units[index + 1] ?? ["", 0];
  const whole = Math.floor(durationMs / size);
  const rest = nextSize === 0 ? 0 : Math.floor((durationMs - whole * size) / nextSize);
  return rest === 0 ? `${whole}${unit}` : `${whole}${unit} ${rest}${nextUnit}`;
}

const two = (value: number) => String(value).padStart(2, "0");

/** Local time to the second, as `--at` reads it back: `2026-11-22 09:30:05`. */
export function formatTime(timeMs: number): string {
  const date = new Date(timeMs);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function formatCount(count: bigint | number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en-US")} ${BigInt(count) === 1n ? one : many}`;
}
