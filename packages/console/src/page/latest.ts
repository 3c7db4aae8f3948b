import { ConnectError } from "@connectrpc/connect";

export type ReadOutcome<T> =
  | { readonly type: "read"; readonly value: T }
  | { readonly type: "failed"; readonly error: string }
  /** Another read took its place: its outcome does not matter any more. */
  | { readonly type: "superseded" };

/** Reads of one thing, of which only the latest counts: a new one aborts the one before it. */
export class Latest {
  #controller: AbortController | undefined;

  async run<T>(read: (signal: AbortSignal) => Promise<T>): Promise<ReadOutcome<T>> {
    const controller = new AbortController();
    this.#controller?.abort();
    this.#controller = controller;
    try {
      const value = await read(controller.signal);
      return this.#controller === controller ? { type: "read", value } : { type: "superseded" };
    } catch (error) {
      return this.#controller === controller ? { type: "failed", error: messageOf(error) } : { type: "superseded" };
    } finally {
      if (this.#controller === controller) this.#controller = undefined;
    }
  }

  /** Whether a read is under way. */
  get isBusy(): boolean {
    return this.#controller !== undefined;
  }

  cancel(): void {
    this.#controller?.abort();
    this.#controller = undefined;
  }
}

/** What went wrong, for a person. */
export const messageOf = (error: unknown): string =>
  ConnectError.from(error).rawMessage || "The daemon gave no reason.";
