import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { MigrationStatus } from "@tidemark/migrate";
import {
  type AdminService,
  ControlMigrationRequest_Action as Action,
  type MigrationSchema,
} from "../gen/tidemark/admin/v1/admin_pb.ts";
import { redact } from "../redact.ts";
import { resolveConflict, type SitePort, toConflicts, toSite } from "./admin-sites.ts";
import { type TopicsPort, toTopics } from "./admin-topics.ts";
import type { StreamSamples } from "./stream-samples.ts";
import type { MigrationAction, MigrationBoard } from "./migration-board.ts";

/** What a daemon may run besides following its streams. */
export interface Operations {
  readonly samples?: Pick<StreamSamples, "read"> | undefined;
  readonly topics?: TopicsPort | undefined;
  readonly migrations?: MigrationBoard | undefined;
  /** Asked each time: sites may come and go. */
  readonly sites?: (() => readonly SitePort[]) | undefined;
}

const actions: Partial<Record<Action, MigrationAction>> = {
  [Action.PAUSE]: "pause",
  [Action.RESUME]: "resume",
  [Action.CANCEL]: "cancel",
  [Action.RETRY]: "retry",
};
const maxConflicts = 200;

/** The part of the AdminService that is about topics, migrations and sites. Translation only. */
export function operationMethods({ samples, topics, migrations, sites }: Operations) {
  const board = (): MigrationBoard => {
    if (migrations !== undefined) return migrations;
    throw new ConnectError(
      "This daemon knows no database with migrations; `migrations` of its configuration lists them.",
      Code.NotFound,
    );
  };
  const siteOf = (name: string): SitePort => {
    const all = sites?.() ?? [];
    const found = all.find((site) => site.name === name);
    if (found !== undefined) return found;
    const names = all.map((site) => site.name).join(", ") || "none";
    throw new ConnectError(`There is no site ${JSON.stringify(name)}; there is ${names}.`, Code.NotFound);
  };
  return {
    samples: async () => samples?.read() ?? {},

    topics: async ({ detailOf }) => (topics === undefined ? {} : toTopics(topics, detailOf)),

    migrations: async () => ({
      databases: ((await migrations?.report()) ?? []).map(({ name, problem, migrations: all }) => ({
        name,
        problem: problem ?? "",
        migrations: all.map(toMigration),
      })),
    }),

    async controlMigration({ database, name, action }) {
      const command = actions[action];
      if (command === undefined) {
        throw new ConnectError("Expected an action: pause, resume, cancel or retry; got none.", Code.InvalidArgument);
      }
      return { migration: toMigration(await board().control(database, name, command)) };
    },

    async migrationQuarantine({ database, name }) {
      const rows = await board().quarantined(database, name);
      return {
        rows: rows.map(({ key, error, attempts, state, lastAt }) => ({
          key,
          error: redact(error),
          attempts,
          skipped: state === "skipped",
          lastAtMs: BigInt(Math.trunc(lastAt)),
        })),
      };
    },

    async skipMigrationRow({ database, name, key }) {
      await board().skip(database, name, key);
      return {};
    },

    sites: async () => ({ sites: await Promise.all((sites?.() ?? []).map(toSite)) }),

    conflicts: ({ site, limit }) =>
      toConflicts(siteOf(site), limit === 0 ? maxConflicts : Math.min(limit, maxConflicts)),

    async resolveConflict({ site, key, heads, take }) {
      await resolveConflict(siteOf(site), key, heads, take);
      return {};
    },
  } satisfies Partial<ServiceImpl<typeof AdminService>>;
}

/** The heads of a key of a site's stream; none where the stream is no site's. */
export async function headsOf({ sites }: Operations, stream: string, key: Uint8Array): Promise<bigint[]> {
  const site = sites?.().find((each) => each.stream === stream);
  return site === undefined ? [] : (await site.graph.heads(key)).map(({ position }) => position);
}

const count = (value: number) => BigInt(Math.max(0, Math.trunc(value)));

function toMigration(status: MigrationStatus): MessageInitShape<typeof MigrationSchema> {
  const { name, state, runNo, rowsDone, rowsChanged, rowsQuarantined, total, totalKind, progress } = status;
  const { rowsPerSecond, etaMs, yieldShare, startedAt, endedAt, heartbeatAt, readAt } = status;
  const { owner, throttleReason, error, waitsFor } = status;
  return {
    name,
    state,
    runNo,
    rowsDone: count(rowsDone),
    rowsChanged: count(rowsChanged),
    rowsQuarantined: count(rowsQuarantined),
    totalIsEstimate: totalKind === "estimate",
    yieldShare,
    owner: owner ?? "",
    throttleReason: redact(throttleReason ?? ""),
    errorCode: error?.code ?? "",
    errorMessage: redact(error?.message ?? ""),
    waitsFor: [...waitsFor],
    readAtMs: BigInt(Math.trunc(readAt)),
    ...(total !== undefined && { total: count(total) }),
    ...(progress !== undefined && { progress }),
    ...(rowsPerSecond !== undefined && { rowsPerSecond }),
    ...(etaMs !== undefined && { etaMs }),
    ...(startedAt !== undefined && { startedAtMs: BigInt(Math.trunc(startedAt)) }),
    ...(endedAt !== undefined && { endedAtMs: BigInt(Math.trunc(endedAt)) }),
    ...(heartbeatAt !== undefined && { heartbeatAtMs: BigInt(Math.trunc(heartbeatAt)) }),
  };
}
