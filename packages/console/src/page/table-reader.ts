import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AsOfSchema, Version } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { Latest } from "./latest.ts";
import type { AdminClient } from "./link-protocol.ts";
import { applyChanges, isOutgrown, openPage, pageSize, type TablePage, type TableRange } from "./state/table-state.ts";
import { isSameTable, type Moment, type View } from "./state/view.ts";
import { bytesOf, compareBytes, hasPrefix, identity, prefixEnd } from "./text/bytes.ts";

export interface TableView {
  /** Undefined until the first page is read. */
  readonly page: TablePage | undefined;
  /** The view that the page belongs to. */
  readonly view: View | undefined;
  readonly isLoading: boolean;
  readonly error: string | undefined;
  /** In the past: how many changes came to the keys of this page since it was read. */
  readonly newer: number;
}

const noTable: TableView = { page: undefined, view: undefined, isLoading: false, error: undefined, newer: 0 };

/** The request field for a moment. */
export const asOf = (at: Moment | undefined): MessageInitShape<typeof AsOfSchema> =>
  at === undefined
    ? {}
    : {
        at:
          at.type === "time"
            ? { case: "timeMs", value: BigInt(Math.round(at.ms)) }
            : { case: "position", value: at.position },
      };

/** Reads pages of keys and keeps the one that is shown true while changes are pushed. */
export class TableReader {
  readonly #client: AdminClient;
  readonly #onChange: () => void;
  readonly #latest = new Latest();
  /** The newest change per key since the read that is under way began: its answer may be older than they are. */
  #pending = new Map<string, Version>();
  #view: View | undefined;
  #stream: string | undefined;
  state: TableView = noTable;

  constructor(client: AdminClient, onChange: () => void) {
    this.#client = client;
    this.#onChange = onChange;
  }

  /** Shows the table of a view. Reads only if it is another one, and tells whether it does. */
  show(view: View, stream: string | undefined): boolean {
    const isSame = this.#view !== undefined && isSameTable(this.#view, view) && this.#stream === stream;
    this.#view = view;
    this.#stream = stream;
    if (!isSame) this.reload();
    return !isSame;
  }

  /** Reads what is shown again. The old rows stay until the new ones are here. */
  reload(): void {
    if (this.#view === undefined || this.#stream === undefined) return;
    void this.#load(this.#view, this.#stream);
  }

  apply(changes: readonly Version[]): void {
    const { page, view } = this.state;
    if (this.#latest.isBusy) {
      for (const change of changes) {
        if (change.stream === this.#stream) this.#pending.set(identity(change.key), change);
      }
    }
    if (page === undefined || view === undefined) return;
    if (view.at !== undefined) {
      const { stream, start, end } = page.range;
      const newer = changes.filter(
        ({ stream: of, key }) =>
          of === stream && compareBytes(key, start) >= 0 && (end === undefined || compareBytes(key, end) < 0),
      ).length;
      if (newer > 0) this.#set({ newer: this.state.newer + newer });
      return;
    }
    const next = applyChanges(page, changes);
    if (next === page) return;
    this.#set({ page: next });
    if (isOutgrown(next) && !this.#latest.isBusy) this.reload();
  }

  async #load(view: View, stream: string): Promise<void> {
    const range = rangeOf(view, stream);
    this.#pending = new Map();
    this.#set({ isLoading: true });
    const outcome = await this.#latest.run((signal) =>
      this.#client.list(
        {
          range: { stream, start: plain(range.start), end: plain(range.end) },
          at: asOf(view.at),
          includeDeleted: view.withDeleted,
          limit: pageSize,
        },
        { signal },
      ),
    );
    if (outcome.type === "superseded") return;
    if (outcome.type === "failed") {
      this.#set({ isLoading: false, error: outcome.error });
      return;
    }
    const { versions, next } = outcome.value;
    const read = openPage(range, versions, next !== "");
    const page = view.at === undefined ? applyChanges(read, [...this.#pending.values()]) : read;
    this.#pending = new Map();
    this.#set({ page, view, isLoading: false, error: undefined, newer: 0 });
  }

  #set(change: Partial<TableView>): void {
    this.state = { ...this.state, ...change };
    this.#onChange();
  }
}

const none = new Uint8Array();

/** Messages hold plain arrays over a buffer of their own kind. */
const plain = (bytes: Uint8Array | undefined) => (bytes === undefined ? none : Uint8Array.from(bytes));

function rangeOf(view: View, stream: string): TableRange {
  const prefix = bytesOf(view.prefix);
  const start = view.start !== undefined && hasPrefix(view.start, prefix) ? view.start : prefix;
  return { stream, start, end: prefixEnd(prefix), withDeleted: view.withDeleted };
}
