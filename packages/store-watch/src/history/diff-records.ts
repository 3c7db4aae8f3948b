import type { DiffRecord, VersionRecord } from "../history-types.ts";

/** From two versions for each key, before and after, where there were any. */
export function toDiffs(pairs: readonly (VersionRecord | undefined)[]): DiffRecord[] {
  const records: DiffRecord[] = [];
  for (let index = 0; index < pairs.length; index += 2) {
    const [before, after] = [pairs[index], pairs[index + 1]];
    const known = (after ?? before) as VersionRecord;
    const change = before === undefined ? "added" : after === undefined ? "removed" : "changed";
    records.push({ stream: known.stream, key: known.key, change, before, after });
  }
  return records;
}
