import type { TestFunction } from "vitest";
import type { Clock } from "@tidemark/clock";
import type { Frame } from "../../../src/contract.ts";
import type { HistoryGraph } from "../../../src/history/graph-types.ts";
import type { FsckFinding, History, OpenStreamOptions } from "../../../src/history-types.ts";

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
  /** Closes it and opens it again. */
  readonly reopen: () => Promise<History>;
}

/** One graph in a database of its own. */
export interface OpenedGraph {
  readonly graph: HistoryGraph;
  /** The graph as another process finds it. */
  readonly reopen: () => Promise<HistoryGraph>;
  /** Adds frames to another stream of the database, as a watcher does. */
  readonly append: (options: OpenStreamOptions, frames: readonly Frame[]) => Promise<void>;
  readonly findings: () => Promise<readonly FsckFinding[]>;
  /** Of all versions, as text. */
  readonly values: () => Promise<readonly string[]>;
  /** Runs a statement, to damage it. */
  readonly run: (sql: string) => Promise<void>;
  /** Before the end of the test, for one that opens many. */
  readonly close: () => Promise<void>;
}

/** A kind of database that keeps histories. Every suite of this folder runs on each of them. */
export interface Backend {
  readonly test: (name: string, run: TestFunction, timeoutMs?: number) => void;
  /** A history in a database of its own, closed after the test. */
  openedHistory(options?: { readonly clock?: Clock; readonly readers?: number }): Promise<OpenedHistory>;
  openedGraph(options: { readonly name: string; readonly origin: string; readonly clock: Clock }): Promise<OpenedGraph>;
}
