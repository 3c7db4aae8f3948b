import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { AsOf, History, VersionRecord } from "@tidemark/store-watch";
import type {
  AdminService,
  AsOf as AsOfMessage,
  ConflictsResponseSchema,
  ControlMigrationRequest,
  MigrationSchema,
  MigrationsResponseSchema,
  ResolveConflictRequest,
  SamplesResponseSchema,
  SitesResponseSchema,
  StatusResponseSchema,
  StreamStatus,
  TopicsResponseSchema,
  VersionSchema,
} from "../../src/gen/tidemark/admin/v1/admin_pb.ts";

const none = new Uint8Array();
const plain = (bytes: Uint8Array | undefined) => Uint8Array.from(bytes ?? none);

const toVersion = (record: VersionRecord): MessageInitShape<typeof VersionSchema> => ({
  position: record.position,
  stream: record.stream,
  key: plain(record.key),
  deleted: record.kind === "delete",
  value: plain(record.value),
  version: record.version,
  epoch: record.epoch,
  parents: [...record.parents],
  level: record.level,
  via: record.via,
  attributes: record.attributes ?? "",
  batch: record.batch,
  cursor: record.cursor,
  committedAtMs: BigInt(record.committedAtMs),
});

const fromAsOf = (message: AsOfMessage | undefined): AsOf =>
  message?.at.case === "timeMs"
    ? { timeMs: Number(message.at.value) }
    : message?.at.case === "position"
      ? { position: message.at.value }
      : {};

/** What the page needs to know that no history knows. */
export type StreamFacts = Partial<Omit<StreamStatus, "$typeName" | "$unknown">>;

/** What the daemon does besides following streams, as the test tells it. */
export interface Told {
  status?: MessageInitShape<typeof StatusResponseSchema>;
  samples?: MessageInitShape<typeof SamplesResponseSchema>;
  topics?: (detailOf: string) => MessageInitShape<typeof TopicsResponseSchema>;
  migrations?: MessageInitShape<typeof MigrationsResponseSchema>;
  control?: (request: ControlMigrationRequest) => MessageInitShape<typeof MigrationSchema>;
  rows?: { key: string; error: string; skipped: boolean }[];
  sites?: MessageInitShape<typeof SitesResponseSchema>;
  conflicts?: MessageInitShape<typeof ConflictsResponseSchema>;
  resolve?: (request: ResolveConflictRequest) => void;
  heads?: (key: Uint8Array) => Promise<bigint[]>;
  /** What a call must carry; undefined: nothing. */
  token?: string;
  /** What a call that changes something must carry. */
  adminToken?: string;
}

export interface TestAdmin {
  readonly told: Told;
  readonly service: Partial<ServiceImpl<typeof AdminService>>;
  /** How many pages are told changes now. */
  watching(): number;
  /** Tells what a watcher would tell of a stream. */
  setFacts(stream: string, facts: StreamFacts): void;
}

/** The AdminService over a real history, with the watcher's part of the status told by the test. */
export function createAdmin(history: History, signal: AbortSignal): TestAdmin {
  const facts = new Map<string, StreamFacts>();
  const told: Told = {};
  const require = (header: Headers, ...tokens: (string | undefined)[]) => {
    const wanted = tokens.filter((token) => token !== undefined);
    if (wanted.length === 0) return;
    const given = header.get("authorization")?.replace(/^Bearer /, "");
    if (given === undefined) throw new ConnectError("This daemon wants a token.", Code.Unauthenticated);
    if (given !== told.token && given !== told.adminToken) {
      throw new ConnectError("This token is not known.", Code.Unauthenticated);
    }
    if (!wanted.includes(given)) throw new ConnectError("This token may only read.", Code.PermissionDenied);
  };
  let watching = 0;
  let changed = Promise.withResolvers<void>();
  const setFacts = (stream: string, more: StreamFacts) => {
    facts.set(stream, { ...facts.get(stream), ...more });
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  const status = async () => ({
    version: "0.0.0",
    startedAtMs: 1n,
    nowMs: BigInt(Date.now()),
    dataDir: "/var/lib/tidemark",
    watchUrl: "http://127.0.0.1:4651",
    command: "npx tidemark",
    origin: history.origin,
    position: await history.position(),
    streams: (await history.streams()).map((record) => ({
      name: record.name,
      kind: record.kind,
      description: record.description,
      state: "live",
      epoch: record.epoch ?? "",
      cursor: record.cursor ?? "",
      keys: BigInt(record.keys),
      versions: BigInt(record.versions),
      gaps: BigInt(record.gaps),
      quarantined: BigInt(record.quarantined),
      ...(record.lastCommitAtMs === undefined ? {} : { lastCommitAtMs: BigInt(record.lastCommitAtMs) }),
      ...facts.get(record.name),
    })),
    ...told.status,
  });
  const page = (limit: number, after: string) => ({ limit, ...(after === "" ? {} : { after }) });

  return {
    told,
    setFacts,
    watching: () => watching,
    service: {
      status: (_, { requestHeader }) => {
        require(requestHeader, told.token, told.adminToken);
        return status();
      },
      async *watchStatus(_, context) {
        require(context.requestHeader, told.token, told.adminToken);
        const ended = AbortSignal.any([signal, context.signal]);
        const abort = new Promise<void>((resolve) => ended.addEventListener("abort", () => resolve(), { once: true }));
        let position = -1n;
        while (!ended.aborted) {
          const now = await status();
          position = now.position;
          yield now;
          const grown = (async () => {
            for await (const _page of history.follow(position, { limit: 1, signal: ended })) return;
          })().catch(() => {});
          await Promise.race([grown, changed.promise, abort]);
        }
      },
      async list({ range, at, includeDeleted, limit, after }) {
        const { stream = "", start = none, end = none } = range ?? {};
        const { items, next } = await history.list(
          { stream, ...(start.length > 0 && { start }), ...(end.length > 0 && { end }) },
          { at: fromAsOf(at), includeDeleted, ...page(limit, after) },
        );
        return { versions: items.map(toVersion), next: next ?? "" };
      },
      async log({ stream, key, limit, after }) {
        const { items, next } = await history.log(stream, key, page(limit, after));
        return { versions: items.map(toVersion), next: next ?? "", heads: (await told.heads?.(key)) ?? [] };
      },
      samples: () => told.samples ?? {},
      topics: ({ detailOf }) => told.topics?.(detailOf) ?? {},
      migrations: () => told.migrations ?? {},
      controlMigration: (request, { requestHeader }) => {
        require(requestHeader, told.adminToken);
        const migration = told.control?.(request);
        return migration === undefined ? {} : { migration };
      },
      migrationQuarantine: () => ({ rows: told.rows ?? [] }),
      skipMigrationRow: ({ key }) => {
        for (const row of told.rows ?? []) if (row.key === key) row.skipped = true;
        return {};
      },
      sites: () => told.sites ?? {},
      conflicts: () => told.conflicts ?? {},
      resolveConflict: (request) => {
        told.resolve?.(request);
        return {};
      },
      async diff({ from, to, range, limit }) {
        const { stream = "", prefix = none } = range ?? {};
        const keys = { ...(stream !== "" && { stream }), ...(prefix.length > 0 && { prefix }) };
        const { items, next } = await history.diff(fromAsOf(from), fromAsOf(to), keys, { limit });
        return {
          next: next ?? "",
          differences: items.map(({ stream, key, change, before, after }) => ({
            stream,
            key: plain(key),
            change,
            ...(before === undefined ? {} : { before: toVersion(before) }),
            ...(after === undefined ? {} : { after: toVersion(after) }),
          })),
        };
      },
      async *watch({ after }, context) {
        const ended = AbortSignal.any([signal, context.signal]);
        const from = after ?? (await history.position());
        watching++;
        try {
          yield { position: from };
          for await (const versions of history.follow(from, { signal: ended })) {
            yield { versions: versions.map(toVersion), position: versions.at(-1)?.position ?? from };
          }
        } catch (error) {
          if (!ended.aborted) throw error;
        } finally {
          watching--;
        }
      },
      async gaps({ stream }) {
        const gaps = await history.gaps(stream);
        return {
          gaps: gaps.map((gap) => ({
            ...gap,
            epoch: gap.epoch ?? "",
            from: gap.from ?? "",
            to: gap.to ?? "",
            atMs: BigInt(gap.atMs),
          })),
        };
      },
      async quarantine({ stream }) {
        const items = await history.quarantine(stream);
        return {
          items: items.map((item) => ({
            ...item,
            key: plain(item.key),
            deleted: item.kind === "delete",
            value: plain(item.value),
            version: item.version ?? "",
            atMs: BigInt(item.atMs),
            resolution: item.resolution ?? "",
          })),
        };
      },
      async resolveQuarantined({ id, action }) {
        try {
          if (action.case === "skipReason") await history.skipQuarantined(id, action.value);
          else await history.retryQuarantined(id);
          setFacts("", {});
          return {};
        } catch (error) {
          throw new ConnectError(error instanceof Error ? error.message : String(error), Code.FailedPrecondition);
        }
      },
    },
  };
}
