/** A run of text as it is, or one character that would not show or would mislead, as an escape. */
export interface TextPart {
  readonly text: string;
  readonly isEscape: boolean;
}

/**
 * Control characters, invisible ones, line separators and those that turn the direction of text around: shown raw, two
 * different keys could look alike, or one could pose as another.
 */
const hidden = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u00a0\u115f\u1160\u2000-\u200f\u202f\u205f\u3000\u3164\uffa0]/u;

function escapeOf(character: string): string {
  const named: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0" };
  const code = character.codePointAt(0) ?? 0;
  return (
    named[character] ??
    (code <= 0xff ? `\\x${hex(code, 2)}` : code <= 0xffff ? `\\u${hex(code, 4)}` : `\\u{${hex(code, 1)}}`)
  );
}

const hex = (code: number, width: number) => code.toString(16).padStart(width, "0");

/** Splits text so that everything in it can be seen. `keep` lists characters that are fine where it is shown. */
export function visibleParts(text: string, keep = ""): TextPart[] {
  const parts: TextPart[] = [];
  let run = "";
  const flush = () => {
    if (run !== "") parts.push({ text: run, isEscape: false });
    run = "";
  };
  for (const character of text) {
    if (!hidden.test(character) || keep.includes(character)) {
      run += character;
      continue;
    }
    flush();
    parts.push({ text: escapeOf(character), isEscape: true });
  }
  flush();
  return parts;
}

/** Bytes that may be text in part: what is not UTF-8 becomes an escape per byte. */
export function visibleBytes(bytes: Uint8Array, text: string | undefined): TextPart[] {
  if (text !== undefined) return visibleParts(text);
  const parts: TextPart[] = [];
  for (const byte of bytes) {
    const isPlain = byte >= 0x20 && byte < 0x7f;
    const shown = isPlain ? String.fromCharCode(byte) : `\\x${hex(byte, 2)}`;
    const last = parts.at(-1);
    if (last !== undefined && last.isEscape === !isPlain)
      parts[parts.length - 1] = { text: last.text + shown, isEscape: !isPlain };
    else parts.push({ text: shown, isEscape: !isPlain });
  }
  return parts;
}
