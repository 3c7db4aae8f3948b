/** What the members of a group of readers are told. */
export type BalancerEffect =
  | { readonly type: "assign"; readonly session: string; readonly partition: number }
  /** Finish with it, and say when: there is no hurry. */
  | { readonly type: "stop"; readonly session: string; readonly partition: number };

interface Held {
  owner: string | undefined;
  isStopping: boolean;
  /** Whether somebody may read it: its parents are done. */
  isReady: boolean;
  /** Nobody else may have it: the session is ahead of what it committed of it, or of its parents. */
  only: string | undefined;
  /** There is nothing left to read of it, so it is no work for whoever has it. */
  isDone: boolean;
}

/**
 * Who of a group of readers reads which partitions: each has one reader, and nobody has two more than anybody else.
 * Readers that name their partitions get these, the others share the rest. Decides, and does nothing.
 */
export class Balancer {
  /** In the order they came. Undefined: whatever there is. */
  readonly #sessions = new Map<string, ReadonlySet<number> | undefined>();
  readonly #partitions = new Map<number, Held>();

  join(session: string, partitions: readonly number[]): BalancerEffect[] {
    this.#sessions.set(session, partitions.length === 0 ? undefined : new Set(partitions));
    return this.#balance();
  }

  leave(session: string): BalancerEffect[] {
    this.#sessions.delete(session);
    for (const held of this.#partitions.values()) if (held.owner === session) this.#free(held);
    return this.#balance();
  }

  /** The session answered a stop, or was made to. */
  released(session: string, partition: number): BalancerEffect[] {
    const held = this.#partitions.get(partition);
    if (held?.owner === session) this.#free(held);
    return this.#balance();
  }

  /** A partition exists, and may be read by everybody, by one session, or by nobody yet. */
  offer(partition: number, isReady: boolean, only?: string, isDone = false): BalancerEffect[] {
    const held = this.#partitions.get(partition);
    if (held === undefined) {
      this.#partitions.set(partition, { owner: undefined, isStopping: false, isReady, only, isDone });
    } else {
      if (held.isReady === isReady && held.only === only && held.isDone === isDone) return [];
      held.isReady = isReady;
      held.only = only;
      held.isDone = isDone;
    }
    return this.#balance();
  }

  owner(partition: number): string | undefined {
    return this.#partitions.get(partition)?.owner;
  }

  #free(held: Held): void {
    held.owner = undefined;
    held.isStopping = false;
  }

  #balance(): BalancerEffect[] {
    const effects: BalancerEffect[] = [];
    const load = new Map<string, number>();
    for (const session of this.#sessions.keys()) load.set(session, 0);
    for (const { owner, isStopping, isDone } of this.#partitions.values()) {
      if (owner !== undefined && !isStopping && !isDone) load.set(owner, (load.get(owner) ?? 0) + 1);
    }
    let shared = 0;
    for (const [partition, held] of this.#partitions) {
      if (!held.isReady) continue;
      const takers = this.#takers(partition, held);
      if (!held.isDone && takers.length > 0 && this.#sessions.get(takers[0] as string) === undefined) shared++;
      if (held.owner === undefined) {
        const session = least(takers, load);
        if (session === undefined) continue;
        held.owner = session;
        if (!held.isDone) load.set(session, (load.get(session) as number) + 1);
        effects.push({ type: "assign", session, partition });
      } else if (!held.isStopping && takers.length > 0 && !takers.includes(held.owner)) {
        this.#stop(partition, held, load, effects);
      }
    }
    this.#even(shared, load, effects);
    return effects;
  }

  /** Who may read it: those that named it, else those that name none. */
  #takers(partition: number, held: Held): string[] {
    const sessions = [...this.#sessions];
    const named = sessions.filter(([, wanted]) => wanted?.has(partition) === true);
    const takers = (named.length > 0 ? named : sessions.filter(([, wanted]) => wanted === undefined)).map(([id]) => id);
    return held.only === undefined ? takers : takers.filter((id) => id === held.only);
  }

  /** Takes from who has too many; they are given on when they are free. */
  #even(shared: number, load: Map<string, number>, effects: BalancerEffect[]): void {
    const general = [...this.#sessions].filter(([, wanted]) => wanted === undefined).map(([id]) => id);
    if (general.length < 2) return;
    general.sort((a, b) => (load.get(b) as number) - (load.get(a) as number));
    const least = Math.floor(shared / general.length);
    const more = shared % general.length;
    for (const [index, session] of general.entries()) {
      let surplus = (load.get(session) as number) - (index < more ? least + 1 : least);
      if (surplus <= 0) continue;
      for (const [partition, held] of [...this.#partitions].toReversed()) {
        if (surplus === 0) break;
        if (held.owner !== session || held.isStopping || held.isDone || held.only !== undefined) continue;
        this.#stop(partition, held, load, effects);
        surplus--;
      }
    }
  }

  #stop(partition: number, held: Held, load: Map<string, number>, effects: BalancerEffect[]): void {
    const session = held.owner as string;
    held.isStopping = true;
    if (!held.isDone) load.set(session, (load.get(session) as number) - 1);
    effects.push({ type: "stop", session, partition });
  }
}

function least(sessions: readonly string[], load: ReadonlyMap<string, number>): string | undefined {
  let best: string | undefined;
  for (const session of sessions) {
    if (best === undefined || (load.get(session) as number) < (load.get(best) as number)) best = session;
  }
  return best;
}
