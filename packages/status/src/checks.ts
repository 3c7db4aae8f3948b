import type { Clock } from "@tidemark/clock";
import { errorText } from "./error-text.ts";
import { TtlCache } from "./ttl-cache.ts";

/** `degraded` is worth a look and still answers requests; `failing` does not. */
export type CheckState = "ok" | "degraded" | "failing";

export interface CheckOutcome {
  readonly state: CheckState;
  /** One sentence for a person. Credentials are cut out of it. */
  readonly detail?: string;
  /** Facts for programs. Shown as they are: never put a secret here. */
  readonly data?: Readonly<Record<string, string | number | boolean | null>>;
}

/**
 * Finds out one thing. Nothing returned means ok; a throw, a rejection, no answer in time and an outcome that is not
 * one of ours mean failing. The signal aborts when the time is up.
 */
export type Check = (signal: AbortSignal) => CheckOutcome | undefined | void | Promise<CheckOutcome | undefined | void>;

/** What one check said, as it is shown. */
export interface CheckReport extends CheckOutcome {
  /** How long it took, in milliseconds. */
  readonly tookMs: number;
  /** When it ran, as ISO 8601 in UTC: up to the cache's time ago. */
  readonly at: string;
}

export interface ChecksOptions {
  readonly checks: Readonly<Record<string, Check>>;
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly timeoutMs: number;
}

const states = new Set<unknown>(["ok", "degraded", "failing"] satisfies CheckState[]);

/** Runs named checks side by side, each remembered by itself; a failing one is asked again every time. */
export function createChecks({ checks, clock, ttlMs, timeoutMs }: ChecksOptions) {
  const probes = Object.entries(checks).map(([name, check]) => {
    const load = async (signal: AbortSignal): Promise<CheckReport> => {
      const at = new Date(clock.now()).toISOString();
      const startedMs = clock.monotonic();
      const outcome = checked(await check(signal));
      return { ...outcome, tookMs: elapsedMs(clock, startedMs), at };
    };
    const isCacheable = (report: CheckReport) => report.state !== "failing";
    return { name, cache: new TtlCache({ name: `The check "${name}"`, load, ttlMs, timeoutMs, isCacheable, clock }) };
  });

  const run = async (cache: TtlCache<CheckReport>): Promise<CheckReport> => {
    const startedMs = clock.monotonic();
    try {
      return await cache.get();
    } catch (error) {
      const at = new Date(clock.now()).toISOString();
      return { state: "failing", detail: errorText(error), tookMs: elapsedMs(clock, startedMs), at };
    }
  };

  return {
    /** One report per check, in the order in which they were named. Never rejects. */
    async run(): Promise<ReadonlyMap<string, CheckReport>> {
      const reports = await Promise.all(probes.map(async ({ name, cache }) => [name, await run(cache)] as const));
      return new Map(reports);
    },
  };
}

function checked(outcome: CheckOutcome | undefined | void): CheckOutcome {
  if (outcome === undefined) return { state: "ok" };
  // Fails closed: what is not understood is not fine.
  if (!states.has(outcome?.state)) {
    return { state: "failing", detail: `The check gave the unknown state ${JSON.stringify(outcome?.state)}` };
  }
  const { state, detail, data } = outcome;
  return {
    state,
    ...(detail === undefined ? {} : { detail: errorText(detail) }),
    ...(data === undefined ? {} : { data }),
  };
}

const elapsedMs = (clock: Clock, startedMs: number) => Math.round((clock.monotonic() - startedMs) * 10) / 10;
