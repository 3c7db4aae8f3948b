import { stripVTControlCharacters } from "node:util";

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

// What takes two cells: emoji and the scripts of East Asia.
const wide =
  /[\p{Emoji_Presentation}\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]/u;

/** How many cells of a terminal the text takes. */
function widthOf(text: string): number {
  const plain = stripVTControlCharacters(text);
  if (/^[\x20-\x7e]*$/.test(plain)) return plain.length;
  let width = 0;
  for (const { segment } of new Intl.Segmenter().segment(plain)) width += wide.test(segment) ? 2 : 1;
  return width;
}

function pad(text: string, width: number, align: Column["align"]): string {
  const fill = " ".repeat(Math.max(0, width - widthOf(text)));
  return align === "right" ? fill + text : text + fill;
}

/** Aligned columns, two spaces apart; nothing trails on the right. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  title: (text: string) => string = (text) => text,
): string {
  const widths = columns.map((column, index) =>
    rows.reduce((max, row) => Math.max(max, widthOf(row[index] ?? "")), widthOf(column.title)),
  );
  const line = (cells: readonly string[]) =>
    columns
      .map((column, index) => pad(cells[index] ?? "", widths[index] ?? 0, column.align))
      .join("  ")
      .trimEnd();
  return [title(line(columns.map((column) => column.title))), ...rows.map(line)].map((text) => `${text}\n`).join("");
}

/** `name  value` lines. */
export function formatFields(
  fields: readonly (readonly [string, string])[],
  title: (text: string) => string = (text) => text,
): string {
  const width = fields.reduce((max, [name]) => Math.max(max, name.length), 0);
  return fields.map(([name, value]) => `${title(name.padEnd(width))}  ${value}`.trimEnd().concat("\n")).join("");
}
