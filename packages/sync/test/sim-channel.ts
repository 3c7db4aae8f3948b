import type { Clock, Rng } from "@tidemark/clock";
import type { Channel, ChannelBatch, ChannelMessage, ChannelSigns, Publisher } from "../src/channel.ts";
import { Level } from "../src/level.ts";

export interface ChannelFaults {
  /** Longest delay of a message on either way, in milliseconds. */
  readonly delayMs: number;
  /** Chance that a delivery has something once more, of each message before. */
  readonly duplicate: number;
  /** Chance that a call ends with an error that passes, before or after it had its effect. */
  readonly fail: number;
  /** Whether a delivery may be in any order, also among messages of one producer. */
  readonly isShuffled: boolean;
}

export const noFaults: ChannelFaults = { delayMs: 5, duplicate: 0, fail: 0, isShuffled: false };

interface Entry {
  readonly producerId: string;
  readonly seqNo: number;
  readonly data: Uint8Array;
}

class Disconnected extends Error {
  readonly retryable = true;
}

/** A topic in virtual time: it deduplicates, keeps order per producer, and loses the connection all the time. */
export class SimTopic {
  readonly entries: Entry[] = [];
  readonly #last = new Map<string, number>();
  readonly #acknowledged = new Map<string, Set<number>>();
  readonly #grown = new Level();
  readonly #healed = new Level();
  readonly #cut = new Set<string>();
  #gone = 0;
  readonly #clock: Clock;
  readonly #rng: Rng;
  faults: ChannelFaults;

  constructor(clock: Clock, rng: Rng, faults: ChannelFaults) {
    this.#clock = clock;
    this.#rng = rng;
    this.faults = faults;
  }

  /** Cuts a site off, or lets it in again. */
  setCut(site: string, isCut: boolean): void {
    if (isCut) this.#cut.add(site);
    else this.#cut.delete(site);
    this.#healed.raise();
  }

  /** Retention: the first entries are gone for good. */
  trim(entries: number): void {
    this.#gone = Math.max(this.#gone, Math.min(entries, this.entries.length));
  }

  channel(site: string): Channel {
    return {
      openPublisher: async (producerId, signal) => {
        await this.#way(site, signal);
        return this.#publisher(site, producerId, signal);
      },
      subscribe: (consumer, signal, signs) => this.#subscribe(site, consumer, signal, signs),
    };
  }

  #publisher(site: string, producerId: string, signal: AbortSignal): Publisher {
    let last = 0;
    return {
      lastSeqNo: this.#last.get(producerId) ?? 0,
      publish: async (messages) => {
        await this.#way(site, signal);
        // The connection may break anywhere in the list.
        const sent = this.#chance() ? this.#rng.int(0, messages.length) : messages.length;
        for (const { seqNo, data } of messages.slice(0, sent) as ChannelMessage[]) {
          if (seqNo <= last) throw new Error(`number ${seqNo} after ${last}`);
          last = seqNo;
          if (seqNo <= (this.#last.get(producerId) ?? 0)) continue;
          this.#last.set(producerId, seqNo);
          this.entries.push({ producerId, seqNo, data: data.slice() });
        }
        this.#grown.raise();
        if (sent < messages.length) throw new Disconnected("cut while publishing");
        await this.#way(site, signal);
      },
      close: async () => undefined,
    };
  }

  async *#subscribe(
    site: string,
    consumer: string,
    signal: AbortSignal,
    signs: ChannelSigns | undefined,
  ): AsyncGenerator<ChannelBatch> {
    const acknowledged = this.#acknowledged.get(consumer) ?? new Set<number>();
    this.#acknowledged.set(consumer, acknowledged);
    const delivered = new Set<number>();
    for (;;) {
      const seen = this.#grown.count;
      await this.#way(site, signal);
      signs?.onConnected();
      const lost = [...this.entries.keys()].slice(0, this.#gone).filter((index) => !acknowledged.has(index));
      const fresh = [...this.entries.keys()]
        .slice(this.#gone)
        .filter((index) => !acknowledged.has(index) && !delivered.has(index));
      if (fresh.length === 0 && lost.length === 0) {
        await this.#grown.after(seen, signal);
        continue;
      }
      const { isShuffled, duplicate } = this.faults;
      if (isShuffled) this.#shuffle(fresh);
      const some = fresh.slice(0, fresh.length === 0 ? 0 : 1 + this.#rng.int(0, fresh.length));
      for (const index of some) delivered.add(index);
      const again = [...acknowledged].filter(() => this.#rng.float() < duplicate);
      const all = [...some, ...again];
      if (isShuffled) this.#shuffle(all);
      yield {
        isAfterLoss: lost.length > 0,
        messages: all.map((index) => (this.entries[index] as Entry).data.slice()),
        ack: async () => {
          await this.#way(site, signal);
          for (const index of [...all, ...lost]) acknowledged.add(index);
          if (this.#chance()) throw new Disconnected("cut after the acknowledgement");
        },
      };
    }
  }

  /** What one site asks another one directly. */
  async between(one: string, other: string, signal: AbortSignal): Promise<void> {
    await this.#way(one, signal);
    if (this.#cut.has(other)) throw new Disconnected(`${other} is cut off`);
  }

  /** Over the network: it takes time, may be cut for long, and may fail. */
  async #way(site: string, signal: AbortSignal): Promise<void> {
    await this.#clock.sleep(this.#rng.float() * this.faults.delayMs, { signal });
    while (this.#cut.has(site)) await this.#healed.after(this.#healed.count, signal);
    if (this.#chance()) throw new Disconnected("cut on the way");
  }

  #chance(): boolean {
    return this.#rng.float() < this.faults.fail;
  }

  #shuffle(list: unknown[]): void {
    for (let index = list.length - 1; index > 0; index--) {
      const other = this.#rng.int(0, index + 1);
      [list[index], list[other]] = [list[other], list[index]];
    }
  }
}
