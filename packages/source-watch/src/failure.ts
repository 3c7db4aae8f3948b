import { Code, ConnectError } from "@connectrpc/connect";
import { type RetryClass, StreamError } from "@tidemark/stream";
import { MarkerTooOldSchema, StoreReplacedSchema } from "./gen/tidemark/watch/v1/watch_pb.ts";
import type { Refusal } from "./source-state.ts";
import { SourceWatchError } from "./source-watch-error.ts";

/** Whether the store said that it cannot go on from our marker, and why. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (!(error instanceof ConnectError)) return undefined;
  const [tooOld] = error.findDetails(MarkerTooOldSchema);
  if (tooOld !== undefined) return { reason: "compacted", incarnation: tooOld.incarnation };
  const [replaced] = error.findDetails(StoreReplacedSchema);
  return replaced === undefined ? undefined : { reason: "epoch-changed" };
}

/** Codes that a restart of the store or a moment of patience mends. */
const passing: ReadonlySet<Code> = new Set([Code.Unavailable, Code.Canceled, Code.Aborted, Code.DeadlineExceeded]);

/** Nothing is fatal: a store that is set up wrongly now may be set right later, and the status says what is wrong. */
export function retryClassOf(error: unknown): RetryClass {
  if (SourceWatchError.is(error)) return "slow";
  if (!(error instanceof ConnectError)) return "fast";
  return refusalOf(error) !== undefined || passing.has(error.code) ? "fast" : "slow";
}

/** What a person should know and do. */
export function describeFailure(error: unknown, origin: string): string {
  const refusal = refusalOf(error);
  if (refusal?.reason === "compacted") return "The store was compacted past our position; taking its whole state anew.";
  if (refusal?.reason === "epoch-changed")
    return "The store was wiped, restored or replaced; taking its whole state anew.";
  if (error instanceof ConnectError) {
    const { code, rawMessage } = error;
    const system = (error.cause as NodeJS.ErrnoException | undefined)?.code;
    if (system === "ECONNREFUSED") return `Nothing listens at ${origin}. Is the store running?`;
    if (system === "ENOTFOUND" || system === "EAI_AGAIN") return `The host of ${origin} cannot be found.`;
    if (code === Code.Unimplemented) return `${origin} answers, but it is no Tidemark store.`;
    return `The watch of ${origin} failed with ${Code[code]}: ${rawMessage}.`;
  }
  if (StreamError.is(error) && error.code === "SILENT") return `${origin} went silent: not even its heartbeats came.`;
  if (StreamError.is(error) && error.code === "PING_TIMEOUT") return `${origin} no longer answers pings.`;
  return `The watch of ${origin} failed: ${error instanceof Error ? error.message : String(error)}.`;
}
