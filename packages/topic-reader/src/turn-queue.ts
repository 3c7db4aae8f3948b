import type { Columns, PartitionSession } from "./partition.ts";

/** Sessions that have something to deliver, each at most once, in the order in which they take their turns. */
export class TurnQueue<C extends Columns = Columns> {
  #sessions: PartitionSession<C>[] = [];
  #head = 0;

  get first(): PartitionSession<C> | undefined {
    return this.#sessions[this.#head];
  }

  push(session: PartitionSession<C>): void {
    session.isQueued = true;
    this.#sessions.push(session);
  }

  shift(): PartitionSession<C> | undefined {
    const session = this.first;
    if (session === undefined) return undefined;
    session.isQueued = false;
    this.#head++;
    if (this.#head === this.#sessions.length) this.clear();
    else if (this.#head >= 256) {
      this.#sessions = this.#sessions.slice(this.#head);
      this.#head = 0;
    }
    return session;
  }

  clear(): void {
    this.#sessions = [];
    this.#head = 0;
  }
}
