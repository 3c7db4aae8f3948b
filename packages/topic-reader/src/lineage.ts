import type { Columns, PartitionSession } from "./partition.ts";

/** Which partitions wait for which: nothing of a child is delivered before everything of its parents is. */
export class Lineage<C extends Columns = Columns> {
  readonly #parents = new Map<string, Set<PartitionSession<C>>>();

  add(parent: PartitionSession<C>, childKeys: readonly string[]): void {
    for (const key of childKeys) {
      const parents = this.#parents.get(key);
      if (parents === undefined) this.#parents.set(key, new Set([parent]));
      else parents.add(parent);
    }
  }

  isBlocked(key: string): boolean {
    return this.#parents.size > 0 && this.#parents.has(key);
  }

  /** The parent has nothing more to deliver. Returns the children that wait for nobody now. */
  remove(parent: PartitionSession<C>): string[] {
    const free: string[] = [];
    for (const [key, parents] of this.#parents) {
      if (!parents.delete(parent) || parents.size > 0) continue;
      this.#parents.delete(key);
      free.push(key);
    }
    return free;
  }

  clear(): void {
    this.#parents.clear();
  }
}
