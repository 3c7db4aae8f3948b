import { payloadMask, payloadsOf } from "../../bench/topics/payloads.ts";
import { limitOf, type WriteJob, type WriteResult } from "./write-client.ts";

/** Sends one message, the `index`th, and resolves when it is acknowledged. */
export type SendOne = (payload: Uint8Array, index: number) => Promise<unknown>;

/** Writes through a call that promises each message's acknowledgment. */
export function drivePromises(send: SendOne, job: WriteJob): Promise<WriteResult> {
  switch (job.mode) {
    case "one":
      return oneByOne(send, job);
    case "all":
      return windowed(send, { ...job, window: Number.POSITIVE_INFINITY });
    default:
      return windowed(send, job);
  }
}

async function windowed(send: SendOne, job: WriteJob): Promise<WriteResult> {
  const payloads = payloadsOf(job.payloadBytes);
  const isOver = limitOf(job);
  const startedMs = performance.now();
  const resumeAt = Number.isFinite(job.window) ? Math.floor(job.window / 2) : 0;
  let sent = 0;
  let inFlight = 0;
  let wake: (() => void) | undefined;
  let failure: { readonly reason: unknown } | undefined;
  const onAcknowledged = () => {
    if (--inFlight <= resumeAt) wake?.();
  };
  const onFailed = (reason: unknown) => {
    failure ??= { reason };
    wake?.();
  };
  const untilWoken = () => new Promise<void>((resolve) => (wake = resolve));
  const fail = () => {
    if (failure !== undefined) throw failure.reason;
  };
  while (!isOver(sent)) {
    if (inFlight >= job.window) {
      await untilWoken();
      fail();
    }
    inFlight++;
    send(payloads[sent & payloadMask] as Buffer, sent).then(onAcknowledged, onFailed);
    sent++;
  }
  while (inFlight > 0) {
    await untilWoken();
    fail();
  }
  return { messages: sent, ms: performance.now() - startedMs };
}

async function oneByOne(send: SendOne, { messages = 0, payloadBytes }: WriteJob): Promise<WriteResult> {
  const payloads = payloadsOf(payloadBytes);
  const latenciesMs = new Float64Array(messages);
  const startedMs = performance.now();
  for (let index = 0; index < messages; index++) {
    const sentMs = performance.now();
    await send(payloads[index & payloadMask] as Buffer, index);
    latenciesMs[index] = performance.now() - sentMs;
  }
  return { messages, ms: performance.now() - startedMs, latenciesMs };
}
