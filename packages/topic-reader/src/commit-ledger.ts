import { type OffsetRange, RangeSet } from "./range-set.ts";

/** Somebody who waits until everything below `end` is committed. */
export interface CommitWaiter {
  readonly end: number;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * What of one partition is committed, and what was asked to be. It outlives the partition's sessions, because a commit
 * outlives the stream it was asked for on.
 *
 * The server advances over the contiguous prefix of what it is told, and ends the whole stream when it is told anything
 * twice or below what is committed (X14). So a range is clipped to what is neither committed nor on its way.
 */
export class CommitLedger {
  #committed = 0;
  /** Told to the server on the session that is open. */
  readonly #sent = new RangeSet();
  readonly #unsent = new RangeSet();
  /** Sorted by `end`; almost always they come that way. */
  #waiters: CommitWaiter[] = [];

  /** Everything below it is committed, for all that is known here. */
  get committed(): number {
    return this.#committed;
  }

  /** Whether anything asked for is not known to be committed. */
  get isPending(): boolean {
    return !this.#sent.isEmpty || !this.#unsent.isEmpty;
  }

  /** Whether the session that is open was told something that it has not acknowledged. */
  get isSent(): boolean {
    return !this.#sent.isEmpty;
  }

  get waiters(): number {
    return this.#waiters.length;
  }

  get hasUnsent(): boolean {
    return !this.#unsent.isEmpty;
  }

  /** What was asked for and is not known to be committed. */
  pending(): OffsetRange[] {
    const all = new RangeSet();
    for (const { start, end } of this.#sent.ranges) all.add(start, end);
    for (const { start, end } of this.#unsent.ranges) all.add(start, end);
    return all.takeAll();
  }

  /** Whether the server can commit anything of it without being asked for more: it has what lies before. */
  get isReachable(): boolean {
    const first = this.pending()[0];
    return first !== undefined && first.start <= this.#committed;
  }

  /**
   * A session of the partition begins. What was sent on the one before may or may not have arrived; what of it the
   * server has not committed is sent again.
   *
   * @param committed what the server says. It may be lower than before, when somebody reset the consumer.
   * @param firstOffset the oldest offset there is. Nothing below it will ever be delivered, so nobody will commit it,
   * and a range behind it would wait for that forever.
   */
  open(committed: number, firstOffset: number): CommitWaiter[] {
    this.#void();
    this.#committed = committed;
    const settled = this.#advance(committed);
    const first = this.#unsent.ranges[0];
    if (first !== undefined && first.start > committed && first.start <= firstOffset) {
      this.#unsent.add(committed, first.start);
    }
    return settled;
  }

  /** The session is over, and with it what it was told. */
  close(): void {
    this.#void();
  }

  /** Returns false when all of it is committed already. */
  request(start: number, end: number): boolean {
    const from = Math.max(start, this.#committed);
    if (from >= end) return false;
    this.#unsent.addMissing(from, end, this.#sent);
    return true;
  }

  wait(waiter: CommitWaiter): void {
    const waiters = this.#waiters;
    let at = waiters.length;
    while (at > 0 && (waiters[at - 1] as CommitWaiter).end > waiter.end) at--;
    if (at === waiters.length) waiters.push(waiter);
    else waiters.splice(at, 0, waiter);
  }

  /** What to tell the server now. */
  takeUnsent(): OffsetRange[] {
    const taken = this.#unsent.takeAll();
    for (const { start, end } of taken) this.#sent.add(start, end);
    return taken;
  }

  /** The server has committed everything below it. Returns who waited for that. */
  acknowledge(committed: number): CommitWaiter[] {
    if (committed <= this.#committed) return [];
    this.#committed = committed;
    return this.#advance(committed);
  }

  /** Gives up everything that was asked for. Returns who waits for it. */
  abandon(): CommitWaiter[] {
    this.#sent.takeAll();
    this.#unsent.takeAll();
    return this.#waiters.splice(0);
  }

  #void(): void {
    for (const { start, end } of this.#sent.takeAll()) this.#unsent.add(start, end);
  }

  #advance(committed: number): CommitWaiter[] {
    this.#sent.dropBelow(committed);
    this.#unsent.dropBelow(committed);
    const waiters = this.#waiters;
    let settled = 0;
    while (settled < waiters.length && (waiters[settled] as CommitWaiter).end <= committed) settled++;
    return settled === 0 ? [] : waiters.splice(0, settled);
  }
}
