const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** `22 Nov 2026, 09:16:40` in the reader's zone and habit. */
export const atText = (ms: number): string => absolute.format(ms);

const units: readonly (readonly [name: string, ms: number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
];

/** `4 ms`, `1.2 s`, `3 min`, `2 h`: how long something takes or took. */
export function durationText(ms: number): string {
  if (ms < 1) return ms <= 0 ? "0 ms" : "< 1 ms";
  if (ms < 1_000) return `${ms < 10 ? trim(ms, 1) : Math.round(ms)} ms`;
  const [name, size] = units.find(([, unit]) => ms >= unit) ?? ["s", 1_000];
  const value = ms / size;
  return `${value < 10 && name === "s" ? trim(value, 1) : Math.floor(value)} ${name}`;
}

/** `just now`, `12 s ago`, `3 min ago`. */
export function agoText(ms: number, nowMs: number): string {
  const age = nowMs - ms;
  return age < 1_000 ? "just now" : `${durationText(Math.floor(age / 1_000) * 1_000)} ago`;
}

/** With the separators of the reader. */
export function countText(value: number | bigint): string {
  return value.toLocaleString(undefined);
}

export function rateText(perSecond: number): string {
  if (perSecond === 0) return "0/s";
  return perSecond < 10 ? `${trim(perSecond, 1)}/s` : `${countText(Math.round(perSecond))}/s`;
}

export function sizeText(bytes: number | bigint): string {
  const size = Number(bytes);
  if (size < 1_024) return `${size} B`;
  if (size < 1_048_576) return `${trim(size / 1_024, 1)} KiB`;
  return size < 1_073_741_824 ? `${trim(size / 1_048_576, 1)} MiB` : `${trim(size / 1_073_741_824, 1)} GiB`;
}

const trim = (value: number, digits: number) => String(Number(value.toFixed(digits)));

/** What `<input type="datetime-local" step="1">` takes: local time without a zone. */
export function toLocalInput(ms: number): string {
  const date = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return date.toISOString().slice(0, 19);
}

export function fromLocalInput(text: string): number | undefined {
  const ms = new Date(text).getTime();
  return Number.isNaN(ms) ? undefined : ms;
}
