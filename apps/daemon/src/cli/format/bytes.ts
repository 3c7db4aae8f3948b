import { isUtf8 } from "node:buffer";

/** The text that these bytes are, when they are UTF-8. */
export function textOf(bytes: Uint8Array): string | undefined {
  // A view, not a copy: values may be large.
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return isUtf8(view) ? view.toString("utf8") : undefined;
}

const names: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Text that cannot move the cursor, change colours or hide itself: control and direction characters are written out. */
export function safeText(text: string, options: { readonly isMultiline?: boolean } = {}): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => {
    if (options.isMultiline === true && (char === "\n" || char === "\t")) return char;
    // What joins emoji and scripts is harmless and common.
    if (char === "\u200d" || char === "\u200c") return char;
    const code = char.codePointAt(0) ?? 0;
    return names[char] ?? (code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`);
  });
}

export interface ShowOptions {
  /** Longest result in characters; the rest is cut and marked. */
  readonly maxLength?: number;
  readonly isMultiline?: boolean;
}

function looksLikeText(text: string): boolean {
  // A few control characters are text with oddities; many are binary data that happens to be valid UTF-8.
  const controls = text.match(/[^\P{Cc}\n\r\t]/gu)?.length ?? 0;
  return controls * 10 <= text.length;
}

/** Shows a key or value to a person on one line: text where it is text, otherwise hex and size. */
export function showBytes(bytes: Uint8Array, options: ShowOptions = {}): string {
  const maxLength = options.maxLength ?? Number.POSITIVE_INFINITY;
  const text = textOf(bytes);
  if (text !== undefined && looksLikeText(text)) {
    // Cut first, so that a value of megabytes is not escaped for 60 characters.
    const isLong = text.length > maxLength;
    const shown = safeText(isLong ? cut(text, maxLength) : text, options);
    return isLong || shown.length > maxLength ? `${cut(shown, maxLength - 1)}…` : shown;
  }
  const size = ` (${formatSize(bytes.length)})`;
  const room = Math.max(8, Math.min(maxLength, 80) - size.length - 3);
  const digits = Buffer.from(bytes.subarray(0, Math.floor(room / 2))).toString("hex");
  return `0x${digits}${digits.length < bytes.length * 2 ? "…" : ""}${size}`;
}

/** Cuts without leaving half of a character behind. */
function cut(text: string, length: number): string {
  return text
    .slice(0, length)
    .toWellFormed()
    .replace(/\ufffd$/, "");
}

export function formatSize(bytes: number): string {
  if (bytes === 1) return "1 byte";
  if (bytes < 1024) return `${bytes} bytes`;
  for (const [unit, size] of [
    ["GiB", 1024 ** 3],
    ["MiB", 1024 ** 2],
    ["KiB", 1024],
  ] as const) {
    if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}`;
  }
  return `${bytes} bytes`;
}
