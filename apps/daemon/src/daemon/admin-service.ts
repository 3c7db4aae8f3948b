import { Code, ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import { type Clock, systemClock } from "@tidemark/clock";
import { type History, StoreWatchError, type StoreWatchErrorCode } from "@tidemark/store-watch";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AdminService, StatusResponseSchema } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { redact } from "../redact.ts";
import { DaemonError, type DaemonErrorCode } from "../daemon-error.ts";
import { fromAsOf, fromKeyRange, toDifference, toGap, toQuarantined, toVersion } from "./admin-mapping.ts";
import { headsOf, operationMethods, type Operations } from "./admin-operations.ts";

export interface AdminServiceOptions {
  readonly history: History;
  /** The streams that are followed now. */
  readonly followed: () => readonly string[];
  readonly status: () => Promise<MessageInitShape<typeof StatusResponseSchema>>;
  /** The same, at most a moment old. */
  readonly recentStatus: () => Promise<MessageInitShape<typeof StatusResponseSchema>>;
  /** Settles once the replica has what the named streams' sources have now. */
  readonly sync: (streams: readonly string[], signal: AbortSignal) => Promise<void>;
  /** Topics, migrations and sites, where the daemon has them. */
  readonly operations?: Operations;
  /** Reads the configuration again and says what changed; undefined: there is none to read. */
  readonly reload?: () => Promise<readonly string[]>;
  /** Aborts when the daemon stops; ends every stream. */
  readonly signal: AbortSignal;
  /** How often `WatchStatus` looks for changes, in milliseconds. @default 250 */
  readonly statusIntervalMs?: number;
  /** @default systemClock */
  readonly clock?: Clock;
}

/** Answers what people and programs ask, from the history and the watchers. Translation only. */
export function createAdminService(options: AdminServiceOptions): ServiceImpl<typeof AdminService> {
  const { history, operations = {}, clock = systemClock, statusIntervalMs = 250 } = options;

  /** The stream that is meant where one is needed; a name nobody knows is an error, not an empty answer. */
  const streamOf = async (name: string): Promise<string> => {
    const known = (await history.streams()).map((stream) => stream.name);
    if (name !== "") {
      if (known.includes(name) || options.followed().includes(name)) return name;
      throw new ConnectError(
        `There is no stream ${JSON.stringify(name)}; there is ${known.join(", ") || "none yet"}.`,
        Code.NotFound,
      );
    }
    const candidates = options.followed().length > 0 ? options.followed() : known;
    const [only] = candidates;
    if (only !== undefined && candidates.length === 1) return only;
    throw new ConnectError(
      `Say which stream with --stream: ${candidates.join(", ") || "there is none yet"}.`,
      Code.InvalidArgument,
    );
  };
  /** Every stream, unless one is named or a cursor, which belongs to one, needs it. */
  const scopeOf = async (name: string, ...moments: (string | undefined)[]): Promise<string | undefined> =>
    name === "" && !moments.includes("cursor") ? undefined : streamOf(name);

  return translated({
    status: () => options.status(),

    async reload() {
      if (options.reload === undefined) throw new ConnectError("There is nothing to reload.", Code.Unimplemented);
      return { changes: [...(await options.reload())] };
    },

    async get({ stream, key, at }, { signal }) {
      const version = await history.get(await streamOf(stream), key, { at: fromAsOf(at), signal });
      return version === undefined ? {} : { version: toVersion(version) };
    },

    async list({ range, at, includeDeleted, limit, after }, { signal }) {
      const scope = fromKeyRange(range, await scopeOf(range?.stream ?? "", at?.at.case));
      const page = await history.list(scope, { at: fromAsOf(at), includeDeleted, ...paging(limit, after), signal });
      return { versions: page.items.map(toVersion), next: page.next ?? "" };
    },

    async log({ stream, key, limit, after }, { signal }) {
      const name = await streamOf(stream);
      const page = await history.log(name, key, { ...paging(limit, after), signal });
      const heads = await headsOf(operations, name, key);
      return { versions: page.items.map(toVersion), next: page.next ?? "", heads };
    },

    async diff({ from, to, range, limit, after }, { signal }) {
      const scope = fromKeyRange(range, await scopeOf(range?.stream ?? "", from?.at.case, to?.at.case));
      const page = await history.diff(fromAsOf(from), fromAsOf(to), scope, { ...paging(limit, after), signal });
      return { differences: page.items.map(toDifference), next: page.next ?? "" };
    },

    async *watch({ stream, after, prefix }, context) {
      const signal = AbortSignal.any([context.signal, options.signal]);
      const scope = await scopeOf(stream);
      let position = after ?? (await history.position());
      // Tells the client that from here on nothing is missed.
      yield { position };
      const pages = history.follow(position, { ...(scope !== undefined && { stream: scope }), signal });
      for await (const page of ended(pages, signal)) {
        position = page.at(-1)?.position ?? position;
        const wanted =
          prefix.length === 0
            ? page
            : page.filter(({ key }) => Buffer.from(key.subarray(0, prefix.length)).equals(prefix));
        yield { versions: wanted.map(toVersion), position };
      }
    },

    async *watchStatus(_, context) {
      const signal = AbortSignal.any([context.signal, options.signal]);
      let last = "";
      // Looks again only after the consumer took the last one: a slow one sees fewer states, always the newest.
      while (!signal.aborted) {
        const status = await options.recentStatus();
        // The clock alone is no news.
        const text = JSON.stringify({ ...status, nowMs: 0 }, (_key, value: unknown) =>
          typeof value === "bigint" ? value.toString() : value,
        );
        if (text !== last) yield status;
        last = text;
        await clock.sleep(statusIntervalMs, { signal }).catch(() => {});
      }
    },

    async gaps({ stream }) {
      const scope = await scopeOf(stream);
      return { gaps: (await history.gaps(scope)).map(toGap) };
    },

    async quarantine({ stream, includeResolved }) {
      const scope = await scopeOf(stream);
      return { items: (await history.quarantine(scope, { includeResolved })).map(toQuarantined) };
    },

    async resolveQuarantined({ id, action }) {
      switch (action.case) {
        case "retry":
          return { item: toQuarantined(await history.retryQuarantined(id)) };
        case "skipReason":
          return { item: toQuarantined(await history.skipQuarantined(id, action.value)) };
        default:
          throw new ConnectError("Expected retry or skip_reason, got neither.", Code.InvalidArgument);
      }
    },

    async fsck(_, { signal }) {
      const { isClean, findings, versions, keys, durationMs } = await history.fsck({ signal });
      return { clean: isClean, findings: [...findings], versions: BigInt(versions), keys: BigInt(keys), durationMs };
    },

    async sync({ stream }, context) {
      const signal = AbortSignal.any([context.signal, options.signal]);
      await options.sync(stream === "" ? options.followed() : [await streamOf(stream)], signal);
      return { position: await history.position() };
    },

    ...operationMethods(operations),
  });
}

const paging = (limit: number, after: string) => ({ ...(limit > 0 && { limit }), ...(after !== "" && { after }) });

/** Ends quietly when the signal aborts. */
async function* ended<T>(pages: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  try {
    yield* pages;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

const codes: Partial<Record<StoreWatchErrorCode, Code>> = {
  CLOSED: Code.Unavailable,
  OPTIONS_INVALID: Code.InvalidArgument,
  TOO_OLD: Code.OutOfRange,
  NOT_REACHED: Code.OutOfRange,
  NOT_FOUND: Code.NotFound,
  COMMIT_FAILED: Code.FailedPrecondition,
};

const daemonCodes: Partial<Record<DaemonErrorCode, Code>> = {
  NOT_FOUND: Code.NotFound,
  MIGRATION_REFUSED: Code.FailedPrecondition,
  DATABASE: Code.FailedPrecondition,
  UNREACHABLE: Code.Unavailable,
};

/** What a client is told about an error of ours: its sentence, without our codes and without secrets. */
function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (StoreWatchError.is(error)) {
    return new ConnectError(redact(error.message.replace(/^\[[A-Z_]+\] /, "")), codes[error.code] ?? Code.Internal);
  }
  if (DaemonError.is(error)) return new ConnectError(redact(error.problem), daemonCodes[error.code] ?? Code.Internal);
  const wrapped = ConnectError.from(error, Code.Internal);
  return new ConnectError(redact(wrapped.rawMessage), wrapped.code);
}

type Method = (request: never, context: HandlerContext) => unknown;

/** Every method with its errors translated. */
function translated<T extends object>(methods: T): T {
  const wrap =
    (method: Method): Method =>
    (request, context) => {
      const result = method(request, context);
      if (result instanceof Promise) {
        return result.catch((error: unknown) => {
          throw toConnectError(error);
        });
      }
      return translatedStream(result as AsyncIterable<unknown>);
    };
  return Object.fromEntries(Object.entries(methods).map(([name, method]) => [name, wrap(method as Method)])) as T;
}

async function* translatedStream(stream: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  try {
    yield* stream;
  } catch (error) {
    throw toConnectError(error);
  }
}
