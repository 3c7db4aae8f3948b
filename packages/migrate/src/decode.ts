import type { Column } from "drizzle-orm";
import type { SqlValue } from "./connection.ts";

/** A value as Drizzle gives it to users. */
export function decodeWithDrizzle(column: Column, value: SqlValue): unknown {
  if (value === null) return null;
  // Drizzle's decoders know numbers. An integer that no number can hold stays a bigint: better another type than
  // another value.
  const isSmall = typeof value === "bigint" && Number.isSafeInteger(Number(value));
  return column.mapFromDriverValue(isSmall ? Number(value) : value) as unknown;
}
