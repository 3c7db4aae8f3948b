import type { ConnectRouter, ConnectRouterOptions, HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { StoreError } from "../store-error.ts";
import type { Store } from "../store.ts";
import type { CallOptions, Op, TxnRequest as StoreTxnRequest } from "../store-types.ts";
import {
  type ListRequest,
  type TxnRequest,
  type WatchRequest,
  type WatchResponse,
  WatchService,
} from "../gen/tidemark/watch/v1/watch_pb.ts";
import { toConnectError } from "./errors.ts";
import { fromRangeMessage, toWatchResponse } from "./messages.ts";

export interface WatchRoutesOptions {
  /** Ends watches with its reason, a `ConnectError` preferably. Other calls are let finish. */
  readonly signal?: AbortSignal;
  /** Who is let in: `requestGate` sees a call before its request is read. @default everybody */
  readonly guard?: Pick<ConnectRouterOptions, "interceptors" | "requestGate">;
}

/**
 * Adds a store's WatchService to a connect router of one's own. Give its adapter `acceptCompression: []`: the default
 * compresses every larger message. {@link serveWatch} does that and more.
 */
export function watchRoutes(store: Store, options: WatchRoutesOptions = {}): (router: ConnectRouter) => void {
  return (router) => router.service(WatchService, serviceOf(store, options.signal), options.guard);
}

function serviceOf(store: Store, shutdown: AbortSignal | undefined): ServiceImpl<typeof WatchService> {
  const { storeId } = store;
  return {
    put: (request, context) => answer(store.put(request.key, request.value, of(context))),
    delete: (request, context) => answer(store.delete(request.key, of(context))),
    compareAndPut: (request, context) =>
      answer(
        store
          .compareAndPut(request.key, request.value, request.expectedModRevision, of(context))
          .then(({ succeeded, revision, actual }) => ({ succeeded, revision, ...(actual && { actual }) })),
      ),
    get: (request, context) =>
      answer(
        store.get(request.key, of(context)).then(({ kv, revision }) => ({ revision, storeId, ...(kv && { kv }) })),
      ),
    list: (request, context) => answer(list(store, request, context)),
    txn: (request, context) => answer(txn(store, request, context)),
    watch: (request, context) => watch(store, request, context.signal, shutdown),
    compact: (request, context) => answer(store.compact(request.revision, of(context))),
    status: () => answer(store.status()),
  };
}

async function list(store: Store, request: ListRequest, context: HandlerContext) {
  const { kvs, hasMore, revision } = await store.list({
    range: fromRangeMessage(request.range),
    limit: request.limit === 0 ? undefined : request.limit,
    after: request.after,
    revision: request.revision === 0n ? undefined : request.revision,
    signal: context.signal,
  });
  return { kvs: [...kvs], more: hasMore, revision, storeId: store.storeId };
}

async function txn(store: Store, request: TxnRequest, context: HandlerContext) {
  const ops = request.ops.map(({ op }, index): Op => {
    if (op.case === "put") return { type: "put", key: op.value.key, value: op.value.value };
    if (op.case === "delete") return { type: "delete", key: op.value.key };
    throw new StoreError("ARGUMENT_INVALID", `ops[${index}] must be a put or a delete, got neither`);
  });
  const known: StoreTxnRequest = { compares: request.compares, ops };
  return store.txn(known, of(context));
}

async function* watch(
  store: Store,
  request: WatchRequest,
  called: AbortSignal,
  shutdown: AbortSignal | undefined,
): AsyncGenerator<WatchResponse> {
  const ended = new AbortController();
  const onCalled = () => ended.abort(called.reason);
  const onShutdown = () => ended.abort(shutdown?.reason);
  if (called.aborted) onCalled();
  if (shutdown?.aborted) onShutdown();
  called.addEventListener("abort", onCalled, { once: true });
  shutdown?.addEventListener("abort", onShutdown, { once: true });
  let isFirst = true;
  try {
    const events = store.watch({
      range: fromRangeMessage(request.range),
      resumeMarker: request.resumeMarker,
      progressIntervalMs: request.progressIntervalMs === 0 ? undefined : request.progressIntervalMs,
      signal: ended.signal,
    });
    for await (const event of events) {
      const response = toWatchResponse(event);
      if (isFirst) {
        response.storeId = store.storeId;
        response.incarnation = store.incarnation;
        isFirst = false;
      }
      yield response;
    }
  } catch (error) {
    throw toConnectError(error);
  } finally {
    called.removeEventListener("abort", onCalled);
    shutdown?.removeEventListener("abort", onShutdown);
  }
}

function of(context: HandlerContext): CallOptions {
  return { signal: context.signal };
}

async function answer<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    throw toConnectError(error);
  }
}
