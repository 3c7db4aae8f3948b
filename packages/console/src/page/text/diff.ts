import { diffLines, diffWordsWithSpace } from "diff";

type DiffKind = "same" | "added" | "removed";

/** A stretch of a line; `isChanged` is what makes it differ from its counterpart. */
interface DiffSpan {
  readonly text: string;
  readonly isChanged: boolean;
}

export interface DiffLine {
  readonly type: "line";
  readonly kind: DiffKind;
  /** Line numbers from 1; undefined where the side has no such line. */
  readonly before: number | undefined;
  readonly after: number | undefined;
  readonly spans: readonly DiffSpan[];
}

/** Lines that both sides share, folded away. */
export interface DiffFold {
  readonly type: "fold";
  readonly lines: readonly DiffLine[];
}

export interface Diff {
  readonly rows: readonly (DiffLine | DiffFold)[];
  readonly added: number;
  readonly removed: number;
}

const contextLines = 3;
const limits = { timeout: 500, maxEditLength: 20_000 };

/** What differs, line by line and within lines. Undefined: too much to find out in half a second. */
export function diffTexts(before: string, after: string): Diff | undefined {
  const changes = diffLines(before, after, limits);
  if (changes === undefined) return undefined;
  const lines: DiffLine[] = [];
  let beforeLine = 1;
  let afterLine = 1;
  let added = 0;
  let removed = 0;
  const push = (kind: DiffKind, spans: readonly DiffSpan[]) => {
    lines.push({
      type: "line",
      kind,
      before: kind === "added" ? undefined : beforeLine++,
      after: kind === "removed" ? undefined : afterLine++,
      spans,
    });
    if (kind === "added") added++;
    if (kind === "removed") removed++;
  };

  for (const [index, change] of changes.entries()) {
    const texts = splitLines(change.value);
    const next = changes[index + 1];
    const previous = changes[index - 1];
    if (change.removed && next?.added) {
      // Pairs are told apart within the line; the counterpart is pushed when its turn comes.
      const others = splitLines(next.value);
      for (const [i, text] of texts.entries()) push("removed", spansOf(text, others[i], "removed"));
    } else if (change.added && previous?.removed) {
      const others = splitLines(previous.value);
      for (const [i, text] of texts.entries()) push("added", spansOf(others[i], text, "added"));
    } else {
      const kind = change.added ? "added" : change.removed ? "removed" : "same";
      for (const text of texts) push(kind, [{ text, isChanged: false }]);
    }
  }
  return { rows: fold(lines), added, removed };
}

function splitLines(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

function spansOf(before: string | undefined, after: string | undefined, side: "added" | "removed"): DiffSpan[] {
  const own = (side === "added" ? after : before) ?? "";
  if (before === undefined || after === undefined || before.length + after.length > 4_000) {
    return [{ text: own, isChanged: false }];
  }
  const spans = diffWordsWithSpace(before, after)
    .filter((change) => (side === "added" ? !change.removed : !change.added))
    .map((change) => ({ text: change.value, isChanged: change[side] }));
  // A line that changed altogether needs no marks within.
  return spans.some((span) => !span.isChanged && span.text.trim() !== "") ? spans : [{ text: own, isChanged: false }];
}

/** Keeps a few lines around every change and folds longer stretches in between. */
function fold(lines: readonly DiffLine[]): (DiffLine | DiffFold)[] {
  const rows: (DiffLine | DiffFold)[] = [];
  const isNear = new Uint8Array(lines.length);
  for (const [index, line] of lines.entries()) {
    if (line.kind !== "same") isNear.fill(1, Math.max(0, index - contextLines), index + contextLines + 1);
  }
  for (let at = 0; at < lines.length; ) {
    let end = at;
    while (end < lines.length && isNear[end] === 0) end++;
    // Folding one line away would save nothing.
    if (end - at > 1) rows.push({ type: "fold", lines: lines.slice(at, end) });
    else rows.push(...lines.slice(at, end));
    at = end;
    while (at < lines.length && isNear[at] === 1) rows.push(lines[at++] as DiffLine);
  }
  return rows;
}
