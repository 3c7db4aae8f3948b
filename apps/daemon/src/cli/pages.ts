import { DaemonError } from "../daemon-error.ts";

interface PageOf<T> {
  readonly items: readonly T[];
  readonly next: string;
}

const pageSize = 1000;

/** `--limit` as a number; undefined: everything. @throws {DaemonError} `USAGE` */
export function parseLimit(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const limit = Number(text);
  if (!/^\d+$/.test(text) || limit < 1 || !Number.isSafeInteger(limit)) {
    throw new DaemonError("USAGE", `--limit must be a whole number above 0, got ${JSON.stringify(text)}.`);
  }
  return limit;
}

/** All pages, or as many as hold `limit` items; one page in memory at a time. */
export async function* pagesOf<T>(
  read: (page: { readonly limit: number; readonly after: string }) => Promise<PageOf<T>>,
  limit: number | undefined,
): AsyncGenerator<readonly T[]> {
  let left = limit ?? Number.POSITIVE_INFINITY;
  let after = "";
  while (left > 0) {
    const { items, next } = await read({ limit: Math.min(left, pageSize), after });
    left -= items.length;
    if (items.length > 0) yield items;
    if (next === "") return;
    after = next;
  }
}
