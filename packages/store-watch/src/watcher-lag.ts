/** Times of acceptance in one buffer, merged so that their number is bounded. */
const maxTimes = 256;

/** When the groups of one buffer were accepted. Never more than a few kilobytes, however many they are. */
export class AcceptTimes {
  readonly #times = new Float64Array(maxTimes);
  readonly #counts = new Uint32Array(maxTimes);
  #length = 0;

  /** When the oldest was accepted. */
  get firstMs(): number | undefined {
    return this.#length === 0 ? undefined : this.#times[0];
  }

  add(atMs: number): void {
    const last = this.#length - 1;
    if (last >= 0 && atMs - (this.#times[last] as number) < 1) {
      this.#counts[last] = (this.#counts[last] as number) + 1;
      return;
    }
    if (this.#length === maxTimes) this.#halve();
    this.#times[this.#length] = atMs;
    this.#counts[this.#length] = 1;
    this.#length++;
  }

  forEach(callback: (atMs: number, count: number) => void): void {
    for (let index = 0; index < this.#length; index++) {
      callback(this.#times[index] as number, this.#counts[index] as number);
    }
  }

  clear(): void {
    this.#length = 0;
  }

  /** Each pair takes the time of its older half: lag is never understated. */
  #halve(): void {
    for (let index = 0; index < maxTimes / 2; index++) {
      this.#times[index] = this.#times[index * 2] as number;
      this.#counts[index] = (this.#counts[index * 2] as number) + (this.#counts[index * 2 + 1] as number);
    }
    this.#length = maxTimes / 2;
  }
}

const slots = 12;
const slotMs = 5_000;
/** Buckets per doubling: a percentile is at most 9 % too high. */
const perDoubling = 8;
/** The lowest bucket, in milliseconds. */
const lowestMs = 1 / 16;
/** Up to 2^27 ms, a day and a half. */
const buckets = 31 * perDoubling;

function bucketOf(ms: number): number {
  if (ms <= lowestMs) return 0;
  return Math.min(buckets - 1, Math.ceil(Math.log2(ms / lowestMs) * perDoubling));
}

/** A histogram of the last minute. */
export class LagWindow {
  readonly #counts = Array.from({ length: slots }, () => new Float64Array(buckets));
  readonly #max = new Float64Array(slots);
  /** Which five seconds each slot holds. */
  readonly #slotNumbers = new Float64Array(slots).fill(Number.NEGATIVE_INFINITY);

  record(nowMs: number, lagMs: number, count: number): void {
    const slotNumber = Math.floor(nowMs / slotMs);
    const slot = slotNumber % slots;
    const inSlot = this.#counts[slot] as Float64Array;
    if (this.#slotNumbers[slot] !== slotNumber) {
      inSlot.fill(0);
      this.#max[slot] = 0;
      this.#slotNumbers[slot] = slotNumber;
    }
    const bucket = bucketOf(lagMs);
    inSlot[bucket] = (inSlot[bucket] as number) + count;
    this.#max[slot] = Math.max(this.#max[slot] as number, lagMs);
  }

  /** Undefined where nothing was recorded within the last minute. */
  summary(nowMs: number): { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number } | undefined {
    const oldest = Math.floor(nowMs / slotMs) - slots;
    const sum = new Float64Array(buckets);
    let total = 0;
    let maxMs = 0;
    for (let slot = 0; slot < slots; slot++) {
      if ((this.#slotNumbers[slot] as number) <= oldest) continue;
      maxMs = Math.max(maxMs, this.#max[slot] as number);
      for (let bucket = 0; bucket < buckets; bucket++) {
        const count = this.#counts[slot]?.[bucket] as number;
        sum[bucket] = (sum[bucket] as number) + count;
        total += count;
      }
    }
    if (total === 0) return undefined;
    const percentile = (share: number) => {
      let left = total * share;
      for (let bucket = 0; bucket < buckets; bucket++) {
        left -= sum[bucket] as number;
        if (left <= 0) return Math.min(maxMs, lowestMs * 2 ** (bucket / perDoubling));
      }
      return maxMs;
    };
    return { p50Ms: percentile(0.5), p99Ms: percentile(0.99), maxMs };
  }
}

const rateSeconds = 10;

/** How many a second, over the last ten. */
export class RateWindow {
  readonly #counts = new Float64Array(rateSeconds + 1);
  #second = Number.NEGATIVE_INFINITY;
  #startedMs: number | undefined;

  record(nowMs: number, count: number): void {
    this.#startedMs ??= nowMs;
    const slot = this.#advance(nowMs) % (rateSeconds + 1);
    this.#counts[slot] = (this.#counts[slot] as number) + count;
  }

  perSecond(nowMs: number): number {
    if (this.#startedMs === undefined) return 0;
    this.#advance(nowMs);
    let total = 0;
    for (const count of this.#counts) total += count;
    const coveredMs = Math.min(nowMs - this.#startedMs, rateSeconds * 1_000 + (nowMs % 1_000));
    return (total * 1_000) / Math.max(1_000, coveredMs);
  }

  #advance(nowMs: number): number {
    const second = Math.max(this.#second, Math.floor(nowMs / 1_000));
    const passed = second - this.#second;
    if (passed > rateSeconds) this.#counts.fill(0);
    else for (let each = this.#second + 1; each <= second; each++) this.#counts[each % (rateSeconds + 1)] = 0;
    this.#second = second;
    return second;
  }
}
