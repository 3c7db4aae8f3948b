import { Fifo } from "./fifo.ts";
import type { Key, PartitionMap } from "./partition-map.ts";

/** In the place of a partition. */
const everything = -1n;

interface Draining<T> {
  readonly held: Fifo<T>;
  readonly drained: Promise<void>;
}

/**
 * Keys that belong to another partition than before. What comes for them waits until the partition that they leave has
 * acknowledged all it was given, so that a key's messages are stored in their order; other keys do not wait.
 */
export class KeyMoves<T> {
  readonly #release: (held: T) => void;
  readonly #isInOrder: boolean;
  #from: PartitionMap | undefined;
  readonly #draining = new Map<bigint, Draining<T>>();
  /** Why nothing is released any more. */
  #end: { readonly error: unknown } | undefined;

  /**
   * @param isInOrder whether messages have numbers that must rise in each partition, whatever their keys are: then all
   * wait for all.
   */
  constructor(release: (held: T) => void, isInOrder: boolean) {
    this.#release = release;
    this.#isInOrder = isInOrder;
  }

  /** Whether some partition is still being left. */
  get isUnderWay(): boolean {
    return this.#draining.size > 0;
  }

  /** Resolves when nothing is held any more. */
  async settled(): Promise<void> {
    await Promise.all([...this.#draining.values()].map(({ drained }) => drained));
  }

  /** @param partitions that may have something, each with a promise of when it has nothing any more. */
  begin(from: PartitionMap, partitions: ReadonlyMap<bigint, Promise<void>>): void {
    this.#from = from;
    const all = [...partitions.values()];
    const parts = this.#isInOrder && all.length > 0 ? [[everything, Promise.all(all)] as const] : partitions;
    for (const [partitionId, flushed] of parts) {
      const held = new Fifo<T>();
      const drained = flushed.then(() => {
        if (this.#end !== undefined) throw this.#end.error;
        this.#draining.delete(partitionId);
        for (const each of held.takeAll()) this.#release(each);
      });
      // It fails with the writer, which tells.
      drained.catch(() => {});
      this.#draining.set(partitionId, { held, drained });
    }
  }

  /** Whether it was held: the key leaves, for `to`, a partition that has not acknowledged everything. */
  hold(key: Key, to: bigint, message: () => T): boolean {
    const from = this.#isInOrder ? everything : this.#from?.partitionOf(key);
    const draining = from === undefined || from === to ? undefined : this.#draining.get(from);
    draining?.held.push(message());
    return draining !== undefined;
  }

  /** The writer is over: what is held stays here, and who waits for it gets the error. */
  stop(error: unknown): void {
    this.#end ??= { error };
  }

  /** What is held. Each partition's in order. */
  *held(): IterableIterator<T> {
    for (const { held } of this.#draining.values()) {
      for (let n = 0; n < held.length; n++) yield held.at(n) as T;
    }
  }
}
