import { type SeededRng, seededRng } from "@tidemark/clock";
import { type KeyState, Ledger, type LedgerChange, lineageOf, stateAt } from "../../src/chaos/ledger.ts";
import type { Replica, ReplicaGap, ReplicaVersion } from "../../src/chaos/replica.ts";

/** What happened to a store, what an honest follower made of it, and the store in the end. */
export interface Scene {
  readonly ledger: Ledger;
  readonly replica: Replica;
  readonly store: ReadonlyMap<string, KeyState>;
}

/** A replica whose parts may be taken away. */
export interface Loose {
  versions: ReplicaVersion[];
  gaps: ReplicaGap[];
}

/**
 * Writes down what a correct follower would have in its history, step by step as things happen: not by the oracle's
 * reckoning, which starts from the end.
 */
class HonestFollower {
  readonly ledger = new Ledger();
  readonly epochs: string[] = [];
  readonly versions: ReplicaVersion[] = [];
  readonly gaps: ReplicaGap[] = [];
  readonly #rng: SeededRng;
  #revision = 0n;
  #cursor = 0n;
  #batch = 0;
  #heads = new Map<string, { value: string; revision: bigint; epoch: string }>();
  #isAway = true;

  constructor(rng: SeededRng) {
    this.#rng = rng;
  }

  write(count: number): void {
    for (let n = 0; n < count; n++) {
      const live = stateAt(lineageOf(this.ledger.era));
      const changes = new Map<string, string | undefined>();
      for (let size = this.#rng.int(1, 4); size > 0; size--) {
        const key = `k${this.#rng.int(0, 8)}`;
        const isDeletion = live.has(key) && this.#rng.float() < 0.3;
        changes.set(key, isDeletion ? undefined : `v${this.#rng.uint32()}`);
      }
      this.#revision++;
      const list = Array.from(changes, ([key, value]): LedgerChange => ({ key, value }));
      this.ledger.record(this.#revision, list);
      if (!this.#isAway) this.#follow(list);
    }
  }

  leave(): void {
    this.#isAway = true;
  }

  /** Comes back and reads what it missed. */
  resume(): void {
    for (const { revision, changes } of lineageOf(this.ledger.era)) {
      if (revision > this.#cursor) this.#follow(changes, revision);
    }
    this.#isAway = false;
  }

  compact(): void {
    this.ledger.compacted(this.#revision);
  }

  /** Comes back to a store that has no history of what it missed. */
  resumeCompacted(): void {
    this.#gap("compacted");
    this.snapshot();
  }

  wipe(): void {
    this.ledger.wiped();
    this.#revision = 0n;
  }

  /** Comes back to another store. */
  resumeAnew(): void {
    this.#gap("epoch-changed");
    this.begin();
  }

  begin(): void {
    this.epochs.push(`epoch ${this.epochs.length}`);
    this.snapshot();
  }

  snapshot(): void {
    const state = stateAt(lineageOf(this.ledger.era));
    this.#cursor = this.#revision;
    this.#batch++;
    for (const key of [...this.#heads.keys()].toSorted()) {
      if (!state.has(key)) this.#put(key, undefined, this.#revision, "sweep");
    }
    for (const [key, { value, revision }] of state) {
      const head = this.#heads.get(key);
      if (head?.epoch !== this.#epoch || head.revision !== revision) this.#put(key, value, revision, "snapshot");
    }
    this.#isAway = false;
  }

  end(): Scene {
    const store = stateAt(lineageOf(this.ledger.era));
    const current = new Map(Array.from(this.#heads, ([key, { value, revision }]) => [key, { value, revision }]));
    const { epochs, versions, gaps } = this;
    const cursor = { epoch: this.#epoch, revision: this.#cursor };
    return { ledger: this.ledger, store, replica: { cursor, epochs, versions, gaps, current } };
  }

  get #epoch(): string {
    return this.epochs.at(-1) ?? "";
  }

  #follow(changes: readonly LedgerChange[], revision = this.#revision): void {
    this.#cursor = revision;
    this.#batch++;
    for (const { key, value } of changes) this.#put(key, value, revision, "stream");
  }

  #put(key: string, value: string | undefined, revision: bigint, via: ReplicaVersion["via"]): void {
    const epoch = this.#epoch;
    if (value === undefined) this.#heads.delete(key);
    else this.#heads.set(key, { value, revision, epoch });
    const position = this.versions.length + 1;
    this.versions.push({ position, epoch, key, value, revision, via, batch: this.#batch, cursor: this.#cursor });
  }

  #gap(reason: ReplicaGap["reason"]): void {
    const position = this.versions.length;
    this.gaps.push({ reason, detail: "", position, from: this.#cursor, to: undefined });
  }
}

/** Everything once: catching up, a compaction while away, a wipe while away; more of each as the seed says. */
export function honestScene(seed: number): Scene {
  const rng = seededRng(seed);
  const follower = new HonestFollower(rng.fork("writes"));
  follower.write(rng.int(1, 10));
  follower.begin();
  for (let round = rng.int(1, 4); round > 0; round--) {
    follower.write(rng.int(1, 12));
    follower.leave();
    follower.write(rng.int(1, 6));
    follower.resume();
    follower.write(rng.int(1, 6));
    follower.leave();
    follower.write(rng.int(1, 12));
    follower.compact();
    follower.write(rng.int(0, 3));
    follower.resumeCompacted();
    follower.write(rng.int(1, 6));
    follower.leave();
    follower.write(rng.int(0, 4));
    follower.wipe();
    follower.write(rng.int(1, 9));
    follower.resumeAnew();
  }
  follower.write(rng.int(1, 6));
  return follower.end();
}
