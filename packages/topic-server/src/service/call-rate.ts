import type { Clock } from "@tidemark/clock";
import { StatusCode } from "@tidemark/topic/internal";
import { TopicServerError } from "../topic-server-error.ts";
import { Refusal } from "./refusal.ts";

/** What somebody may still begin, and when that was so. */
interface Bucket {
  calls: number;
  atMs: number;
}

/** How many calls each user begins in a second, streams included; what is in a stream is not counted. */
export class CallRate {
  readonly #clock: Clock;
  /** One for each name, of which there are as many as users. */
  readonly #buckets = new Map<string, Bucket>();
  #perSecond = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws {TopicServerError} `OPTIONS_INVALID` */
  set(perSecond: number): void {
    if (!(perSecond >= 1)) {
      throw new TopicServerError("OPTIONS_INVALID", `maxCallsPerSecond must be at least 1, got ${perSecond}`);
    }
    this.#perSecond = perSecond;
  }

  /** @throws {Refusal} `OVERLOADED`, with which clients try again later. */
  take(user: string): void {
    const perSecond = this.#perSecond;
    if (perSecond === Number.POSITIVE_INFINITY) return;
    const nowMs = this.#clock.monotonic();
    let bucket = this.#buckets.get(user);
    if (bucket === undefined) this.#buckets.set(user, (bucket = { calls: perSecond, atMs: nowMs }));
    bucket.calls = Math.min(perSecond, bucket.calls + ((nowMs - bucket.atMs) / 1000) * perSecond);
    bucket.atMs = nowMs;
    if (bucket.calls < 1) {
      throw new Refusal(
        StatusCode.OVERLOADED,
        `${JSON.stringify(user)} begins more than ${perSecond} calls a second: try again later`,
      );
    }
    bucket.calls -= 1;
  }
}
