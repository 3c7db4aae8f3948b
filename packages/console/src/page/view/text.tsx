import { utf8 } from "../text/bytes.ts";
import { type TextPart, visibleBytes, visibleParts } from "../text/visible.ts";
import { previewOf } from "../text/value.ts";
import { agoText, atText } from "../text/time.ts";

/** Text in which everything can be seen; escapes are set apart from text that only looks like one. */
function Parts({ parts }: { readonly parts: readonly TextPart[] }) {
  return parts.map(({ text, isEscape }) => (isEscape ? <span class="escape">{text}</span> : text));
}

/** A key, whatever bytes it is made of. */
export function KeyText({ bytes }: { readonly bytes: Uint8Array }) {
  if (bytes.length === 0) return <span class="faint">(empty key)</span>;
  return <Parts parts={visibleBytes(bytes, utf8(bytes))} />;
}

/** A key as plain text, for labels and titles. */
export const keyLabel = (bytes: Uint8Array): string =>
  visibleBytes(bytes, utf8(bytes))
    .map(({ text }) => text)
    .join("");

/** Text from the daemon or from a value. Joiners, which emoji need, stay as they are. */
export function SafeText({ text }: { readonly text: string }) {
  return <Parts parts={visibleParts(text, "\n\t\u200d\u200c\ufeff")} />;
}

/** The beginning of a value in one line. */
export function ValuePreview({ value, deleted }: { readonly value: Uint8Array; readonly deleted: boolean }) {
  if (deleted) return <span class="deleted-mark">deleted</span>;
  if (value.length === 0) return <span class="faint">(empty)</span>;
  const { text, isBinary } = previewOf(value);
  return isBinary ? <span class="faint">{text}</span> : <SafeText text={text} />;
}

export interface AgoProps {
  readonly ms: number | bigint;
  readonly nowMs: number;
}

/** How long ago, with the exact time behind it. */
export function Ago({ ms, nowMs }: AgoProps) {
  const at = Number(ms);
  return (
    <time dateTime={new Date(at).toISOString()} title={atText(at)}>
      {agoText(at, nowMs)}
    </time>
  );
}
