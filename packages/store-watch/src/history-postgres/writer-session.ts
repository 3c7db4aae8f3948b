import type { Later } from "../history/flow.ts";
import type { PostgresClient, PostgresQuery, PostgresResult } from "./driver.ts";
import type { PostgresSession } from "./session.ts";

/** Of statements that are on their way. The server has something to do while more is made ready, and memory is bounded. */
const maxPostedBytes = 2 * 1024 * 1024;

/**
 * The writer's, transaction by transaction. What a transaction writes is sent at once and answered with its commit, so
 * that a small one goes there and back once. The server runs statements in the order in which they were sent, and after
 * one that it refuses none: so that one is what is told.
 */
export class WriterSession implements PostgresSession {
  #client: PostgresClient | undefined;
  #failure: { readonly error: unknown } | undefined;
  #postedBytes = 0;
  #lastPosted: Promise<void> = Promise.resolve();

  /** Begins a transaction. Its connection is another one when the last one broke. */
  begin(client: PostgresClient): void {
    this.#client = client;
    this.#failure = undefined;
    void this.post("BEGIN");
  }

  async query<Row>(query: PostgresQuery | string): Promise<PostgresResult<Row>> {
    try {
      return await (this.#client as PostgresClient).query<Row>(query);
    } catch (error) {
      throw this.#failure === undefined ? error : this.#failure.error;
    }
  }

  post(query: PostgresQuery | string): Later<void> {
    this.check();
    const bytes = sizeOf(query);
    this.#postedBytes += bytes;
    const answered = (this.#client as PostgresClient).query(query).then(
      () => void (this.#postedBytes -= bytes),
      (error: unknown) => {
        this.#postedBytes -= bytes;
        this.#failure ??= { error };
      },
    );
    this.#lastPosted = answered;
    return this.#postedBytes > maxPostedBytes ? answered : undefined;
  }

  /** Waits for the answers to all that was posted. @throws what has gone wrong */
  async answered(): Promise<void> {
    await this.#lastPosted;
    this.check();
  }

  /** @throws what the server or the driver has said so far about what was posted */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** The transaction is again as it was before what the server refused. */
  recover(): void {
    this.#failure = undefined;
  }
}

function sizeOf(query: PostgresQuery | string): number {
  let size = 0;
  if (typeof query !== "string") {
    for (const value of query.values ?? []) size += (value as { readonly length?: number } | null)?.length ?? 8;
  }
  return size;
}
