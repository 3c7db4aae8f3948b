import type { Clock, SeededRng } from "@tidemark/clock";
import { ownStoreSink, type TransactionalStore } from "../src/own-store-sink.ts";
import type { Sink } from "../src/sink.ts";
import type { SimStore } from "./sim-store.ts";

/** What a request, sent by a process that died, takes to arrive at most. */
const arrivalMs = 50;

export interface SimSinkOptions {
  readonly store: SimStore;
  readonly clock: Clock;
  readonly rng: SeededRng;
  /** For what is lost and deleted. */
  readonly luck: SeededRng;
  readonly maxWrites: number;
  /** How often an answer is lost, in [0, 1]. */
  readonly lost: () => number;
  /** How often a user deletes what he sees come, soon after, in [0, 1]. */
  readonly deleted: () => number;
  /** Runs every call of one life of a process. */
  readonly around: <T>(call: () => Promise<T>) => Promise<T>;
  /** An error for what may pass. */
  readonly busy: (message: string) => Error;
}

interface Made {
  readonly key: string;
  readonly revision: bigint;
}

/** What sites wrote into one store, whoever knows of it: survives their processes. */
export class SinkRecord {
  readonly #made = new Map<number, Made[]>();
  readonly #revisions = new Set<bigint>();
  readonly #jumps: { readonly after: bigint; readonly to: bigint }[] = [];
  /** Answers that nobody heard. */
  lost = 0;
  /** Deletions by users of what a site wrote just before. */
  deleted = 0;

  /** The watch went over what happened in between with a snapshot, which shows no deletion of what it had not seen. */
  jumped(after: bigint, to: bigint): void {
    this.#jumps.push({ after, to });
  }

  made(writes: readonly { readonly want: number; readonly key: Uint8Array }[], revision: bigint): void {
    this.#revisions.add(revision);
    for (const { want, key } of writes) {
      const made = { key: Buffer.from(key).toString(), revision };
      this.#made.set(want, [...(this.#made.get(want) ?? []), made]);
    }
  }

  /** @throws where a user deleted a version in the store, and the same version was written there again */
  check(name: string, store: SimStore): void {
    for (const [want, made] of this.#made) {
      for (const [index, { key, revision }] of made.entries()) {
        const again = made[index + 1];
        if (again === undefined) continue;
        const next = store.entries.find(
          (entry) => entry.revision > revision && entry.changes.some((change) => change.key === key),
        );
        if (next === undefined || this.#revisions.has(next.revision)) continue;
        if (next.changes.some((change) => change.key === key && change.value !== undefined)) continue;
        if (this.#jumps.some(({ after, to }) => next.revision > after && next.revision <= to)) continue;
        throw new Error(
          `version ${want} of ${key} was written into the store of ${name} at ${revision}, deleted by a user at ` +
            `${next.revision}, and written again at ${again.revision}`,
        );
      }
    }
  }
}

/** Writes into a store over a network that loses answers. */
export function simSink(record: SinkRecord, options: SimSinkOptions): Sink {
  const { store, clock, rng, luck, maxWrites, lost, deleted, around, busy } = options;
  const sinkOf = (onMade: (revision: bigint) => void, delayMs: () => number): Required<Omit<Sink, "maxWrites">> => {
    const txn: TransactionalStore["txn"] = (request) =>
      around(async () => {
        await clock.sleep(delayMs());
        // A call of a process that died may still arrive.
        const result = store.txn(request);
        if (result.succeeded) onMade(result.revision);
        await clock.sleep(rng.float() * arrivalMs);
        if (luck.float() < lost()) {
          record.lost++;
          throw busy("the answer was lost");
        }
        return result;
      });
    return ownStoreSink({ txn }) as Required<Omit<Sink, "maxWrites">>;
  };
  return {
    maxWrites,
    apply: (writes, signal) => {
      const onMade = (revision: bigint) => {
        record.made(writes, revision);
        for (const { key, value } of writes) {
          if (value === undefined || luck.float() >= deleted()) continue;
          record.deleted++;
          const name = Buffer.from(key).toString();
          clock.setTimer(luck.float() * 100, () => store.transact([{ key: name, value: undefined }]));
        }
      };
      return sinkOf(onMade, () => rng.float() * arrivalMs).apply(writes, signal);
    },
    // Whatever was sent before has arrived.
    position: (signal) =>
      sinkOf(
        () => undefined,
        () => arrivalMs,
      ).position(signal),
  };
}
