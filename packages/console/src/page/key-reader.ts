import type { Version } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { Latest } from "./latest.ts";
import type { AdminClient } from "./link-protocol.ts";
import { addOlder, addVersions, isWithin, type KeyHistory } from "./state/key-state.ts";
import type { Moment } from "./state/view.ts";
import { equalBytes } from "./text/bytes.ts";

export interface KeyView {
  readonly history: KeyHistory;
  readonly isLoading: boolean;
  readonly error: string | undefined;
}

const pageSize = 25;
/** How many pages are read to get to the version of a moment in the past. */
const maxPages = 40;

/** Reads the history of the key that is open, and adds what is pushed. */
export class KeyReader {
  readonly #client: AdminClient;
  readonly #onChange: () => void;
  readonly #latest = new Latest();
  #pending: Version[] = [];
  #isAsking = false;
  state: KeyView | undefined;

  constructor(client: AdminClient, onChange: () => void) {
    this.#client = client;
    this.#onChange = onChange;
  }

  /** Opens a key, or none. The history that is open already stays. */
  open(target: { readonly stream: string; readonly key: Uint8Array } | undefined, at: Moment | undefined): void {
    if (target === undefined) {
      this.#latest.cancel();
      this.state = undefined;
      this.#onChange();
      return;
    }
    const { history } = this.state ?? {};
    if (history !== undefined && history.stream === target.stream && equalBytes(history.key, target.key)) {
      // Another moment shows another version.
      this.#set({ history: { ...history, shown: undefined, base: undefined } });
      if (!this.#latest.isBusy) void this.#load(at, history);
      return;
    }
    const fresh = {
      stream: target.stream,
      key: target.key,
      versions: [],
      heads: [],
      next: "",
      shown: undefined,
      base: undefined,
    };
    this.state = { history: fresh, isLoading: true, error: undefined };
    this.#onChange();
    void this.#load(at, fresh);
  }

  /** Reads the newest versions again, after something may have been missed. */
  reload(at: Moment | undefined): void {
    const history = this.state?.history;
    if (history !== undefined) void this.#load(at, { ...history, versions: [], next: "" });
  }

  /** Reads the next older versions. */
  older(): void {
    const history = this.state?.history;
    if (history?.next === undefined || this.#latest.isBusy) return;
    void this.#load(undefined, history, true);
  }

  select(shown: bigint | undefined, base: bigint | undefined): void {
    if (this.state === undefined) return;
    this.#set({ history: { ...this.state.history, shown, base } });
  }

  apply(changes: readonly Version[]): void {
    if (this.state === undefined) return;
    if (this.#latest.isBusy) this.#pending.push(...changes.filter((change) => this.#isOpen(change)));
    const history = addVersions(this.state.history, changes);
    if (history === this.state.history) return;
    this.#set({ history });
    this.refreshHeads();
  }

  /** Asks again which versions are heads: a decision at another site can change that without a version. */
  refreshHeads(): void {
    const { state } = this;
    if (state === undefined || state.history.heads.length === 0 || this.#isAsking) return;
    this.#isAsking = true;
    const { stream, key } = state.history;
    void this.#client
      .log({ stream, key: Uint8Array.from(key), limit: 1 })
      .then(({ heads }) => {
        const { history } = this.state ?? {};
        if (history === undefined || history.stream !== stream || !equalBytes(history.key, key)) return;
        if (heads.join() !== history.heads.join()) this.#set({ history: { ...history, heads } });
      })
      // The link tells when the daemon cannot be asked.
      .catch(() => {})
      .finally(() => {
        this.#isAsking = false;
      });
  }

  #isOpen(change: Version): boolean {
    const history = this.state?.history;
    return history !== undefined && change.stream === history.stream && equalBytes(change.key, history.key);
  }

  /** Reads on from what `from` has until the moment is covered, or one page more. */
  async #load(at: Moment | undefined, from: KeyHistory, isOneMore = false): Promise<void> {
    const isCovered = (history: KeyHistory) =>
      history.next === undefined ||
      (history.versions.length > 0 && (at === undefined || isWithin(history.versions.at(-1) as Version, at)));
    if (!isOneMore && isCovered(from)) return;
    this.#pending = [];
    this.#set({ isLoading: true });
    const outcome = await this.#latest.run(async (signal) => {
      let history = from;
      for (let pages = 0; pages < maxPages; pages++) {
        const { stream, key, next } = history;
        const read = await this.#client.log(
          { stream, key: Uint8Array.from(key), limit: pageSize, after: next ?? "" },
          { signal },
        );
        history = { ...addOlder(history, read.versions, read.next === "" ? undefined : read.next), heads: read.heads };
        if (isCovered(history)) break;
      }
      return history;
    });
    if (outcome.type === "superseded" || this.state === undefined) return;
    if (outcome.type === "failed") {
      this.#set({ isLoading: false, error: outcome.error });
      return;
    }
    // The person may have chosen versions while this was read.
    const { shown, base } = this.state.history;
    const history = addVersions({ ...outcome.value, shown, base }, this.#pending);
    this.#pending = [];
    this.#set({ history, isLoading: false, error: undefined });
  }

  #set(change: Partial<KeyView>): void {
    if (this.state === undefined) return;
    this.state = { ...this.state, ...change };
    this.#onChange();
  }
}
