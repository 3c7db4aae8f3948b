import { type ErrorRecord, toErrorRecord } from "./error-record.ts";
import type { WorkerClient } from "./worker-client.ts";
import { untransferred, type WorkerHandlers, type WorkerMethods } from "./worker-server.ts";

/** What a history needs of a thread. */
export type HistoryThread<M extends WorkerMethods> = Pick<WorkerClient<M>, "call" | "close" | "destroy" | "pending">;

/** No thread at all: the same handlers, run when they are called, so that a simulation decides about every order. */
export function localThread<M extends WorkerMethods>(
  handlers: WorkerHandlers<M>,
  { reviveError, closedError }: { reviveError(record: ErrorRecord): Error; closedError(): Error },
): HistoryThread<M> {
  let isClosed = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    handlers.close?.();
  };
  return {
    pending: 0,
    async call<Name extends keyof M & string>(
      method: Name,
      input: Parameters<M[Name]>[0],
      { signal }: { readonly signal?: AbortSignal | undefined } = {},
    ): Promise<Awaited<ReturnType<M[Name]>>> {
      if (isClosed) throw closedError();
      signal?.throwIfAborted();
      try {
        const result = untransferred(await (handlers[method] as (given: unknown) => unknown)(input));
        handlers.answered?.(method);
        return result as Awaited<ReturnType<M[Name]>>;
      } catch (error) {
        throw reviveError(toErrorRecord(error));
      }
    },
    close,
    destroy: close,
  };
}
