import type { MessagePort, Transferable } from "node:worker_threads";
import { type ErrorRecord, toErrorRecord } from "./error-record.ts";

/**
 * What a worker can do: one argument in, one result out, both structured-cloneable. Written as a type with methods:
 * `type StoreMethods = { put(input: PutInput): PutResult }`.
 */
// oxlint-disable-next-line typescript/no-explicit-any
export type WorkerMethods = { readonly [name: string]: (input: any) => unknown };

export interface WorkerRequest {
  readonly id: number;
  readonly method: string;
  readonly input: unknown;
}

export type WorkerReply =
  | { readonly id: number; readonly result: unknown; readonly error?: undefined }
  | { readonly id: number; readonly error: ErrorRecord };

/** The method that ends a worker: its handler runs, then the port closes. */
export const closeMethod = "close";

const transferMark = Symbol("transfer");

interface Transferring {
  readonly [transferMark]: readonly Transferable[];
  readonly result: unknown;
}

/** Returned by a handler: `result` is sent, and the memory in `list` moves with it instead of being copied. */
export function transferring<T>(result: T, list: readonly Transferable[]): T {
  return { [transferMark]: list, result } as unknown as T;
}

/** The result alone, for a caller in the same thread. */
export function untransferred(result: unknown): unknown {
  const isMarked = typeof result === "object" && result !== null && transferMark in result;
  return isMarked ? (result as Transferring).result : result;
}

/** Handlers for every method, run one at a time in the order of the calls as long as they are synchronous. */
export type WorkerHandlers<M extends WorkerMethods> = {
  readonly [Name in keyof M]: (input: Parameters<M[Name]>[0]) => ReturnType<M[Name]> | Promise<ReturnType<M[Name]>>;
} & {
  readonly close?: () => void;
  /** Called when the answer to a call is out: for work that nobody should wait for. It must not throw. */
  readonly answered?: (method: keyof M) => void;
};

/** Answers the calls of a {@link WorkerClient} until it closes. Runs in the worker: `serveWorker(parentPort, …)`. */
export function serveWorker<M extends WorkerMethods>(port: MessagePort, handlers: WorkerHandlers<M>): void {
  const answer = (id: number, result: unknown) => {
    if (typeof result === "object" && result !== null && transferMark in result) {
      const { result: value, [transferMark]: list } = result as Transferring;
      port.postMessage({ id, result: value } satisfies WorkerReply, list);
    } else {
      port.postMessage({ id, result } satisfies WorkerReply);
    }
  };
  const refuse = (id: number, thrown: unknown) =>
    port.postMessage({ id, error: toErrorRecord(thrown) } satisfies WorkerReply);

  const running = new Set<Promise<void>>();
  const close = (id: number) => {
    try {
      handlers.close?.();
      answer(id, undefined);
    } catch (error) {
      refuse(id, error);
    }
    port.close();
  };

  port.on("message", ({ id, method, input }: WorkerRequest) => {
    if (method === closeMethod) {
      if (running.size === 0) close(id);
      else void Promise.all(running).then(() => close(id));
      return;
    }
    try {
      const handler = handlers[method];
      if (handler === undefined) throw new Error(`this worker has no method ${JSON.stringify(method)}`);
      const result: unknown = handler(input as never);
      if (result instanceof Promise) {
        const settled = result
          .then(
            (value: unknown) => answer(id, value),
            (error: unknown) => refuse(id, error),
          )
          .finally(() => running.delete(settled));
        running.add(settled);
      } else {
        answer(id, result);
        handlers.answered?.(method);
      }
    } catch (error) {
      refuse(id, error);
    }
  });
}
