import { errorText } from "../error-text.ts";
import type { PlainResponse } from "../http.ts";
import { type AsyncMigration, isUnfinished } from "./async-migration.ts";
import type { MigrationSource } from "./migration-source.ts";

/** What `/healthz` says of migrations. */
export interface MigrationHealth {
  /** The time here, as ISO 8601 in UTC: what the times of migrations are to be compared with. */
  readonly now: string;
  readonly async_migrations: readonly AsyncMigration[];
  /** Whether somebody may have to wait: anything that is not over, and whatever cannot be read. */
  readonly async_migrations_running: boolean;
  /** Why they cannot be read. */
  readonly async_migrations_error?: string;
}

/** Fails closed: what cannot be read is running. */
export async function migrationHealth(source: MigrationSource, nowMs: number): Promise<MigrationHealth> {
  const { migrations, error } = await source.current();
  const now = new Date(nowMs).toISOString();
  if (migrations === undefined) {
    return { now, async_migrations: [], async_migrations_running: true, async_migrations_error: error };
  }
  return { now, async_migrations: migrations, async_migrations_running: migrations.some(isUnfinished) };
}

/** Whether a person should look. */
export function hasTrouble({ async_migrations, async_migrations_error }: MigrationHealth): boolean {
  const isTrouble = ({ status }: AsyncMigration) => status === "failed" || status === "stalled" || status === "unknown";
  return async_migrations_error !== undefined || async_migrations.some(isTrouble);
}

type Answer = (status: number, body: unknown, more?: Readonly<Record<string, string>>) => PlainResponse;

/** A part of `/api/perf`: whatever JSON can say. */
export type PerfSection = () => unknown;

/** Answers `/api/perf/async-migrations`. */
export async function answerMigrations(source: MigrationSource | undefined, answer: Answer): Promise<PlainResponse> {
  const { migrations, error } = (await source?.current()) ?? { migrations: [] };
  if (migrations !== undefined) return answer(200, migrations);
  return answer(500, { error: `readAsyncMigrations: ${error}` }, errorHeader(error));
}

/** Answers `/api/perf`: a part that fails is an error in its place, and takes nothing else away. */
export async function answerPerf(
  facts: Readonly<Record<string, unknown>>,
  sections: Readonly<Record<string, PerfSection>>,
  source: MigrationSource | undefined,
  answer: Answer,
): Promise<PlainResponse> {
  const told = Object.entries(sections).map(async ([name, section]) => {
    try {
      return [name, (await section()) ?? null] as const;
    } catch (error) {
      return [name, { error: errorText(error) }] as const;
    }
  });
  const { migrations, error } = (await source?.current()) ?? { migrations: [] };
  const body = { ...facts, ...Object.fromEntries(await Promise.all(told)), asyncMigrations: migrations ?? [] };
  return answer(200, body, migrations === undefined ? errorHeader(error) : {});
}

/** A header takes ASCII alone. */
function errorHeader(error: string): Readonly<Record<string, string>> {
  return { "x-async-migrations-error": error.replaceAll(/[^\x20-\x7e]/g, "?") };
}
