import { systemClock } from "@tidemark/clock";
import { parseSortableInteger, type ResumePoint, type Source, sortableInteger } from "@tidemark/store-watch/contract";
import { SourceProbe } from "@tidemark/store-watch/testing";
import { ReconnectLimiter } from "@tidemark/stream";
import { hasService } from "@tidemark/tooling/services";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { type EtcdSourceOptions, etcdSource } from "../../src/index.ts";
import { type StartEtcdOptions, startEtcd, type TestEtcd } from "../../src/testing.ts";

/** One etcd for all tests of a file. Each test takes a prefix of its own. */
export function sharedEtcd(options: StartEtcdOptions = {}): { readonly etcd: TestEtcd } {
  const shared: { etcd: TestEtcd } = { etcd: undefined as never };
  beforeAll(async () => {
    if (hasService("etcd")) shared.etcd = await startEtcd(options);
  });
  afterAll(() => shared.etcd?.[Symbol.asyncDispose]());
  return shared;
}

/** Quick where something happens, and in no hurry to give up: a machine may stand still for seconds. */
const quick = {
  heartbeatIntervalMs: 300,
  silenceTimeoutMs: 30_000,
  connectTimeoutMs: 30_000,
  backoff: { initialDelayMs: 10, maxDelayMs: 200, slowInitialDelayMs: 50, slowMaxDelayMs: 200 },
} as const satisfies Partial<EtcdSourceOptions>;

/** For tests that are about silence. Then others may be found silent, too, when the machine stands still. */
export const impatient = { silenceTimeoutMs: 1_500, connectTimeoutMs: 2_000 } as const;

/** A source with its own limiter: tests must not slow each other down. */
export function quickSource(options: EtcdSourceOptions): Source & Required<Pick<Source, "barrier">> {
  return etcdSource({ ...quick, limiter: new ReconnectLimiter({ clock: systemClock }), ...options });
}

/** Runs a source into a probe until the test is over. */
export function follow(source: Source, from?: ResumePoint, timeoutMs = 45_000): SourceProbe {
  const probe = new SourceProbe(systemClock, timeoutMs);
  onTestFinished(() => probe.stop());
  return probe.start(source, from);
}

/** Waits until the source has come to a revision. */
export function reached(probe: SourceProbe, revision: bigint): Promise<void> {
  const cursor = sortableInteger(revision);
  return probe.until(`revision ${revision}`, () => probe.cursor !== undefined && probe.cursor >= cursor);
}

export function isLive(probe: SourceProbe): Promise<void> {
  return probe.until("its status to be live", () => probe.statuses.at(-1)?.state === "live");
}

/** Waits for a status that says what is wrong. */
export async function complaint(probe: SourceProbe, text: string | RegExp): Promise<string> {
  const matching = () => {
    for (const status of probe.statuses) {
      if (
        status.state === "waiting" &&
        (typeof text === "string" ? status.error.includes(text) : text.test(status.error))
      ) {
        return status.error;
      }
    }
    return undefined;
  };
  await probe.until(`a complaint about ${text}`, () => matching() !== undefined);
  return matching() ?? "";
}

export const revisionOf = (cursor: string | undefined): bigint => parseSortableInteger(cursor ?? "a0");

/** Many writes at once, in any order. */
export async function inParallel(count: number, write: (index: number) => Promise<unknown>, width = 32): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) await write(index);
  };
  await Promise.all(Array.from({ length: width }, worker));
}
