/** A line of a package's benchmark that says something. */
interface OutputRow {
  readonly name: string;
  readonly result: string;
}

const isTableLine = (line: string) => /^[|│]/.test(line);
const isRule = (line: string) => /^[\s|:+┌┬┐├┼┤└┴┘─-]*$/.test(line);
const cellsOf = (line: string) =>
  line
    .split(/[|│]/)
    .slice(1, -1)
    .map((cell) => cell.trim().replace(/^'(.*)'$/, "$1"));

/** What a benchmark printed, line by line: rows of tables with the names of their columns, and `name: result`. */
export function rowsOfOutput(bench: string, output: string): readonly OutputRow[] {
  const rows: OutputRow[] = [];
  let head: readonly string[] | undefined;
  for (const line of output.split("\n")) {
    if (isRule(line)) continue;
    if (!isTableLine(line)) {
      head = undefined;
      const [, name, result] = /^([^{:]+): +(.+)$/.exec(line) ?? [];
      rows.push({ name: name === undefined ? bench : `${bench}: ${name.trim()}`, result: result ?? line.trim() });
      continue;
    }
    const cells = cellsOf(line);
    if (head === undefined) {
      head = cells;
      continue;
    }
    // The first column names the row; Node's own tables number it before.
    const at = head[0] === "(index)" ? 1 : 0;
    const columns = head;
    const measured = cells.slice(at + 1).map((cell, index) => {
      const column = columns[at + 1 + index] ?? "";
      return column === "" ? cell : `${column} ${cell}`;
    });
    rows.push({ name: `${bench}: ${cells[at] ?? ""}`, result: measured.join(", ") });
  }
  return rows;
}
