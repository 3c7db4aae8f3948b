import type { TestFunction } from "vitest";
import type { Clock } from "@tidemark/clock";
import type { History } from "../../../src/history-types.ts";

/** The database behind a history, as a person with its own tool sees it. */
export interface RawDatabase {
  /** Rows as arrays, integers as numbers, bytes as buffers. */
  rows(query: string): Promise<unknown[][]>;
  /** From now on the database refuses these statements, for rows that `when` says, until {@link accept}. */
  refuse(event: string, options?: { readonly when?: string; readonly message?: string }): Promise<void>;
  accept(): Promise<void>;
  /** An SQL expression for these bytes. */
  bytes(text: string): string;
  /** An SQL expression for a column's bytes in upper-case hex. */
  hex(column: string): string;
  /** A query of the README, which are written for SQLite. */
  translate(query: string): string;
}

interface OpenedHistory {
  readonly history: History;
  readonly database: RawDatabase;
}

/** A kind of database that keeps histories. Every suite of this folder runs on each of them. */
export interface Backend {
  readonly test: (name: string, run: TestFunction, timeoutMs?: number) => void;
  /** A history in a database of its own, closed after the test. */
  openedHistory(options?: { readonly clock?: Clock; readonly readers?: number }): Promise<OpenedHistory>;
}
