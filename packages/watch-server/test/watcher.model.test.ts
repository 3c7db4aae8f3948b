import { systemRng } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { type Store, StoreError, type WatchEvent } from "../src/index.ts";
import { testStore, text } from "./support.ts";

interface Line {
  readonly revision: number;
  readonly key: string;
  readonly value: string | undefined;
}

type Rng = ReturnType<typeof createSimulation>["rng"];

/** One watcher that reads at its own pace, is cut and resumes, and checks every event against what was written. */
class Follower {
  readonly #store: Store;
  readonly #master: readonly Line[];
  readonly #prefix: string;
  readonly #state = new Map<string, string>();
  #watch: AsyncIterableIterator<WatchEvent> | undefined;
  #marker = "";
  /** Everything of the prefix up to here was seen. */
  #revision = 0;
  #hasState = false;
  cuts = 0;
  losses = 0;

  constructor(store: Store, master: readonly Line[], prefix: string) {
    this.#store = store;
    this.#master = master;
    this.#prefix = prefix;
  }

  isBehind(revision: number): boolean {
    return this.#revision < revision || !this.#hasState;
  }

  async read(events: number): Promise<void> {
    for (let n = 0; n < events; n++) {
      this.#watch ??= this.#store.watch({
        range: { prefix: this.#prefix },
        resumeMarker: this.#marker,
        progressIntervalMs: 100,
      });
      try {
        this.#check((await this.#watch.next()).value as WatchEvent);
      } catch (error) {
        if (!StoreError.is(error) || error.code !== "TOO_OLD") throw error;
        this.losses++;
        this.#watch = undefined;
        this.#marker = "";
      }
    }
  }

  async cut(): Promise<void> {
    this.cuts++;
    await this.#watch?.return?.();
    this.#watch = undefined;
    // A snapshot that was cut begins again.
    if (!this.#hasState) this.#marker = "";
  }

  async catchUp(revision: number): Promise<void> {
    while (!this.#hasState || this.#revision < revision) await this.read(1);
    expect(this.#state).toEqual(this.#stateAt(revision));
    await this.cut();
  }

  #check(event: WatchEvent): void {
    switch (event.type) {
      case "snapshot-begin":
        this.#hasState = false;
        this.#state.clear();
        break;
      case "snapshot-page":
        for (const { key, value } of event.kvs) this.#state.set(text(key) as string, text(value) as string);
        break;
      case "snapshot-end":
        this.#moveTo(event.marker);
        this.#hasState = true;
        expect(this.#state).toEqual(this.#stateAt(this.#revision));
        break;
      case "progress":
        // Nothing before it is still to come, and nothing of ours lies between.
        expect(this.#between(this.#revision, revisionOf(event.marker))).toEqual([]);
        this.#moveTo(event.marker);
        break;
      case "transactions": {
        const last = event.transactions.at(-1);
        const seen = event.transactions.flatMap(({ revision, changes }) =>
          changes.map(({ key, value }) => ({ revision: Number(revision), key: text(key), value: text(value) })),
        );
        expect(seen).toEqual(this.#between(this.#revision, Number(last?.revision)));
        for (const { key, value } of seen) {
          if (value === undefined) this.#state.delete(key as string);
          else this.#state.set(key as string, value);
        }
        this.#moveTo(last?.marker as string);
      }
    }
  }

  #moveTo(marker: string): void {
    this.#marker = marker;
    this.#revision = revisionOf(marker);
  }

  #between(after: number, upTo: number): Line[] {
    return this.#master.filter(
      ({ revision, key }) => revision > after && revision <= upTo && key.startsWith(this.#prefix),
    );
  }

  #stateAt(revision: number): Map<string, string> {
    const state = new Map<string, string>();
    for (const { key, value } of this.#between(0, revision)) {
      if (value === undefined) state.delete(key);
      else state.set(key, value);
    }
    return state;
  }
}

function revisionOf(marker: string): number {
  return Number(marker.slice(1, marker.indexOf(".")));
}

/** Writes a few transactions and records what they are. */
async function write(store: Store, master: Line[], rng: Rng): Promise<void> {
  const writes: Promise<unknown>[] = [];
  for (let n = rng.int(1, 30); n > 0; n--) {
    const revision = (master.at(-1)?.revision ?? 0) + 1;
    const keys = new Set(
      Array.from({ length: rng.int(1, 4) }, () => `${rng.pick(["a/", "b/", "c/"])}${rng.int(0, 8)}`),
    );
    const ops = [...keys].map(
      (key) => ({ type: "put", key, value: `${revision}${"x".repeat(rng.int(0, 2000))}` }) as const,
    );
    for (const { key, value } of ops) master.push({ revision, key, value });
    writes.push(store.txn({ ops }));
    if (rng.float() < 0.3) {
      const key = ops[0]?.key as string;
      master.push({ revision: revision + 1, key, value: undefined });
      writes.push(store.delete(key));
    }
  }
  await Promise.all(writes);
}

async function walk(seed: number, steps: number): Promise<{ readonly cuts: number; readonly losses: number }> {
  const { rng } = createSimulation({ seed });
  // Small, so that watchers fall out of it and read the log.
  const store = await testStore({ tailBytes: [0, 2000, 200_000][seed % 3] as number });
  const master: Line[] = [];
  const followers = ["", "", "a/", "b/", "b/3", "none/"].map((prefix) => new Follower(store, master, prefix));
  const revision = () => master.at(-1)?.revision ?? 0;
  const compactions: Promise<unknown>[] = [];
  for (let step = 0; step < steps; step++) {
    const written = write(store, master, rng);
    // Some read while the writes are on their way, some never until the end.
    if (rng.float() < 0.5) await written;
    for (const follower of followers.slice(0, -1)) {
      const luck = rng.float();
      // Who is up to date would wait for a sign of life, which is worth it now and then only.
      if (luck < 0.4 && (follower.isBehind(revision()) || luck < 0.01)) await follower.read(rng.int(1, 3));
      else if (luck > 0.9) await follower.cut();
    }
    await written;
    if (rng.float() < 0.15) {
      compactions.push(store.compact(BigInt(rng.int(0, revision() + 1))));
      if (rng.float() < 0.5) await compactions.at(-1);
    }
  }
  await Promise.all(compactions);
  for (const follower of followers) await follower.catchUp(revision());
  await expect.poll(() => store.watchers).toBe(0);
  await store.close();
  return {
    cuts: followers.reduce((sum, { cuts }) => sum + cuts, 0),
    losses: followers.reduce((sum, { losses }) => sum + losses, 0),
  };
}

test("every watch sees exactly the log, however slow, cut or compacted away it is", {
  timeout: 3_600_000,
}, async () => {
  const isLong = process.env["TIDEMARK_LONG"] === "1";
  const first = systemRng.uint32();
  let cuts = 0;
  let losses = 0;
  for (let seed = first; seed < first + (isLong ? 30 : 3); seed++) {
    try {
      const result = await walk(seed, isLong ? 100 : 30);
      cuts += result.cuts;
      losses += result.losses;
    } catch (error) {
      throw new Error(`with seed ${seed}`, { cause: error });
    }
  }
  // The walks went through what they are about.
  expect(cuts).toBeGreaterThan(20);
  expect(losses).toBeGreaterThan(0);
});
