import type { PostgresClient } from "./driver.ts";
import type { PostgresStreamState } from "./stream-rows.ts";

/** One row per transaction and epoch: which position was reached when. Its clock never goes back. */
export class CommitRows {
  #lastMs = 0;
  #lastId = 0;
  #now = 0;
  #cursor = "";
  #position = 0;
  #batch = 0;

  async load(client: PostgresClient): Promise<void> {
    const { rows } = await client.query<{ readonly ms: number; readonly id: number }>(
      "SELECT coalesce(max(committed_at), 0) AS ms, coalesce(max(id), 0) AS id FROM commits",
    );
    this.#lastMs = rows[0]?.ms ?? 0;
    this.#lastId = rows[0]?.id ?? 0;
    this.#position = 0;
  }

  /** The time that everything in this transaction is committed at. */
  begin(nowMs: number): number {
    this.#position = 0;
    this.#now = Math.max(Math.floor(nowMs), this.#lastMs);
    return this.#now;
  }

  /** Says how far the transaction has come. */
  extend(cursor: string, position: number, batch: number): void {
    this.#cursor = cursor;
    this.#position = position;
    this.#batch = batch;
  }

  /** Writes the row, if there is anything new: at the end, and before the stream goes over to another epoch. */
  async end(client: PostgresClient, stream: PostgresStreamState): Promise<void> {
    if (this.#position === 0 || stream.epoch === undefined) return;
    await client.query({
      name: "tidemark_commit_row",
      text: `INSERT INTO commits (id, stream, epoch, cursor, position, batch, committed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)`,
      values: [++this.#lastId, stream.id, stream.epoch.id, this.#cursor, this.#position, this.#batch, this.#now],
    });
    this.#lastMs = this.#now;
    this.#position = 0;
  }
}
