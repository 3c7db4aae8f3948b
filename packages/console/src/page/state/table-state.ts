import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { compareBytes, keyAfter } from "../text/bytes.ts";

/** How many keys a page of the table is read with. */
export const pageSize = 100;

/** Which keys a page of the table answers for: `[start, end)` of one stream. */
export interface TableRange {
  readonly stream: string;
  readonly start: Uint8Array;
  /** Undefined: no end. */
  readonly end: Uint8Array | undefined;
  readonly withDeleted: boolean;
}

/** A page of the table. Rows are in key order, one per key; changes that are pushed keep it true. */
export interface TablePage {
  readonly range: TableRange;
  readonly rows: readonly Version[];
  /** The first key of the next page; undefined: this is the last one. */
  readonly nextStart: Uint8Array | undefined;
}

/** The page that was read. With more to come it ends behind its last row: what is further on is not its business. */
export function openPage(range: TableRange, rows: readonly Version[], hasMore: boolean): TablePage {
  const last = rows.at(-1);
  const nextStart = hasMore && last !== undefined ? keyAfter(last.key) : undefined;
  return { range: nextStart === undefined ? range : { ...range, end: nextStart }, rows, nextStart };
}

/**
 * The page after changes in log order. What the page knows already, what it does not show and what is older than its row
 * changes nothing; then the result is the same object.
 */
export function applyChanges(page: TablePage, changes: readonly Version[]): TablePage {
  const { stream, start, end, withDeleted } = page.range;
  let rows: Version[] | undefined;
  for (const change of changes) {
    if (change.stream !== stream || compareBytes(change.key, start) < 0) continue;
    if (end !== undefined && compareBytes(change.key, end) >= 0) continue;
    const now = rows ?? page.rows;
    const { index, isFound } = findRow(now, change.key);
    const row = isFound ? now[index] : undefined;
    if (row !== undefined && row.position >= change.position) continue;
    const isShown = !change.deleted || withDeleted;
    if (row === undefined && !isShown) continue;
    rows ??= [...page.rows];
    if (isShown) rows.splice(index, isFound ? 1 : 0, change);
    else rows.splice(index, 1);
  }
  return rows === undefined ? page : { ...page, rows };
}

/** Whether so much came or went that the page should be read again, to be of a reasonable size. */
export function isOutgrown(page: TablePage): boolean {
  return page.rows.length > pageSize * 2 || (page.nextStart !== undefined && page.rows.length < pageSize / 2);
}

function findRow(rows: readonly Version[], key: Uint8Array): { readonly index: number; readonly isFound: boolean } {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = compareBytes(rows[middle]?.key ?? key, key);
    if (order === 0) return { index: middle, isFound: true };
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return { index: low, isFound: false };
}
