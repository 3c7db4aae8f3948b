import type { Clock, SeededRng } from "@tidemark/clock";
import { type HistoryGraph, sortableInteger } from "@tidemark/store-watch";
import { guardedGraph, keyId, type ReferenceStore } from "@tidemark/store-watch/testing";
import type { Peer, Sink, Site } from "@tidemark/sync";
import { forever } from "./forever.ts";
import { Busy, type Life } from "./life.ts";

/** Of the process that a part belongs to. */
interface PartOptions {
  readonly life: Life;
  readonly clock: Clock;
  readonly rng: SeededRng;
}

const strikes = (rng: SeededRng, chance: number) => chance > 0 && rng.float() < chance;

/** Another site over a network that is slow, and cut while the process is. */
export function peerOf(name: string, running: () => Site | undefined, { life, clock, rng }: PartOptions): Peer {
  const ask = async <T>(signal: AbortSignal, call: (site: Site) => Promise<T>): Promise<T> => {
    await clock.sleep(rng.float() * 100, { signal });
    if (life.isOver) return forever();
    const site = running();
    if (site === undefined || life.network.isCutOff) throw new Error(`${name} cannot be reached`);
    const gaveUp = clock.sleep(5_000, { signal }).then(() => {
      throw new Error(`${name} does not answer`);
    });
    gaveUp.catch(() => {});
    return Promise.race([call(site), gaveUp]);
  };
  return {
    name,
    missing: (vector, signal) => ask(signal, (site) => site.missing(vector)),
    snapshot: (after, signal) => ask(signal, (site) => site.snapshot(after)),
  };
}

/** Writes into the store over a network that loses answers. */
export function lossySink(
  store: ReferenceStore,
  { life, clock, rng, strikesWith }: PartOptions & { readonly strikesWith: () => number },
): Sink {
  return {
    async apply(writes, signal) {
      await clock.sleep(rng.float() * 50, { signal });
      if (!life.isOver && strikes(rng, strikesWith())) throw new Busy("simulated: nothing was written");
      // The request of a process that died meanwhile arrives all the same.
      const versions = new Map(store.state().map(({ id, version }) => [id, version]));
      if (writes.some(({ key, expected }) => versions.get(keyId(key)) !== expected)) return { isApplied: false };
      const revision = store.transact(writes.map(({ key, value }) => ({ key, value })));
      const made = new Map(store.at(revision)?.changes.map(({ id, version }) => [id, version]));
      await clock.sleep(rng.float() * 50, { signal });
      if (life.isOver) return forever();
      if (strikes(rng, strikesWith())) throw new Busy("simulated: the answer was lost");
      return {
        isApplied: true,
        versions: writes.map(({ key }) => made.get(keyId(key)) ?? sortableInteger(revision)),
      };
    },
    async position(signal) {
      // Requests of a process that died have arrived by then.
      await clock.sleep(50, { signal });
      return life.isOver ? forever() : sortableInteger(store.revision);
    },
  };
}

/** Commits that fail before or after they happened; of a dead process nothing is heard. */
export function failingGraph(
  life: Life,
  graph: HistoryGraph,
  {
    rng,
    strikesWith,
    onStrike,
  }: { readonly rng: SeededRng; readonly strikesWith: () => number; readonly onStrike: () => void },
): HistoryGraph {
  const change = async <T>(call: () => Promise<T>): Promise<T> => {
    if (life.isOver) return forever();
    const isBefore = rng.float() < 0.5;
    const isStruck = rng.float() < strikesWith();
    if (isStruck) onStrike();
    if (isStruck && isBefore) throw new Busy("simulated: SQLITE_BUSY");
    const result = await call();
    if (life.isOver) return forever();
    if (isStruck) throw new Busy("simulated: nobody knows whether it was committed");
    return result;
  };
  return guardedGraph(graph, { change, read: (call) => (life.isOver ? forever() : call()) });
}
