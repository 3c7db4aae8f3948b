import { createTwoFilesPatch } from "diff";
import type { Style } from "./style.ts";
import { safeText, showBytes, textOf } from "./bytes.ts";

const maxDiffBytes = 256 * 1024;

/** How two values differ, line by line where they are text, indented by two. */
export function formatValueDiff(before: Uint8Array | undefined, after: Uint8Array | undefined, style: Style): string {
  const left = before === undefined ? undefined : linesOf(before);
  const right = after === undefined ? undefined : linesOf(after);
  const isText = (before === undefined || left !== undefined) && (after === undefined || right !== undefined);
  const lines: string[] = [];
  if (!isText || left === undefined || right === undefined) {
    if (before !== undefined)
      lines.push(...(isText && left !== undefined ? left.split("\n") : [showBytes(before)]).map((line) => `- ${line}`));
    if (after !== undefined)
      lines.push(
        ...(isText && right !== undefined ? right.split("\n") : [showBytes(after)]).map((line) => `+ ${line}`),
      );
  } else {
    const patch = createTwoFilesPatch("", "", `${left}\n`, `${right}\n`, "", "", { context: 2 });
    for (const line of (patch ?? "").split("\n").slice(4)) {
      if (line === "" || line.startsWith("\\")) continue;
      // Where the first lines are shown there is nothing to say about where they are.
      if (line.startsWith("@@")) lines.push(...(/^@@ -[01],\d+ \+[01],/.test(line) ? [] : [line]));
      else lines.push(`${line[0]} ${line.slice(1)}`);
    }
    // Only the reformatting hid what differs, for example white space in JSON.
    if (lines.length === 0)
      lines.push(`- ${showBytes(before ?? new Uint8Array())}`, `+ ${showBytes(after ?? new Uint8Array())}`);
  }
  return lines.map((line) => `  ${coloured(safeText(line, { isMultiline: true }), style)}\n`).join("");
}

function coloured(line: string, style: Style): string {
  if (line.startsWith("+")) return style("green", line);
  if (line.startsWith("-")) return style("red", line);
  return style("dim", line);
}

/** Text to compare line by line; JSON is spread over lines first, so that one changed field is one changed line. */
function linesOf(value: Uint8Array): string | undefined {
  if (value.length > maxDiffBytes) return undefined;
  const text = textOf(value);
  if (text === undefined) return undefined;
  const first = text.trimStart()[0];
  // Numbers that JavaScript would round must not be reformatted.
  if ((first === "{" || first === "[") && !/\d{16}/.test(text)) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }
  return text.endsWith("\n") ? text.slice(0, -1) : text;
}
