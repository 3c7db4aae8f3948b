// Surfaces with one lie each. A suite that lets one of them pass proves nothing about the real one.

import { expect, test } from "vitest";
import {
  createMigrationSource,
  createStatus,
  type MigrationReading,
  type MigrationSample,
  type MigrationSource,
  type PlainHandler,
  type PlainResponse,
} from "../src/index.ts";
import { toAsyncMigration } from "../src/migrations/async-migration.ts";
import { bannerLines } from "../src/warmup-banner.ts";
import { bannerPromises } from "./support/banner-contract.ts";
import { type Surface, type SurfaceParts, surfacePromises } from "./support/surface-contract.ts";

const over = (migrations: (parts: SurfaceParts) => MigrationSource): Surface => {
  return (parts) => createStatus({ clock: parts.clock, migrations: migrations(parts) }).handle;
};

/** The real surface, with its answers changed on their way out. */
const bent = (bend: (url: string, response: PlainResponse) => PlainResponse): Surface => {
  return (parts) => {
    const { handle } = createStatus({ clock: parts.clock, migrations: createMigrationSource(parts) });
    const bentHandle: PlainHandler = (request) => {
      const answer = handle(request);
      return answer === undefined ? undefined : Promise.resolve(answer).then((response) => bend(request.url, response));
    };
    return bentHandle;
  };
};

const bentBody = (change: (body: Record<string, unknown>, url: string) => unknown) =>
  bent((url, response) => {
    const body = JSON.parse(String(response.body)) as Record<string, unknown>;
    return { ...response, body: JSON.stringify(change(body, url)) };
  });

const readingOf = (samples: readonly MigrationSample[], ageMs = 0): MigrationReading => ({
  samples,
  migrations: samples.map((sample) => toAsyncMigration(sample, ageMs)),
});

const surfaces: Readonly<Record<string, readonly [fake: Surface, killedBy: keyof typeof surfacePromises]>> = {
  "caches an error": [
    over((parts) => {
      let error: unknown;
      const read = async (signal: AbortSignal) => {
        if (error !== undefined) throw error;
        try {
          return await parts.read(signal);
        } catch (thrown) {
          error = thrown;
          throw thrown;
        }
      };
      return createMigrationSource({ ...parts, read });
    }),
    "S5: an error is never remembered, and takes away what was",
  ],
  "shows what was remembered when reading fails": [
    over((parts) => {
      const source = createMigrationSource(parts);
      let last: MigrationReading | undefined;
      return {
        async current() {
          const reading = await source.current();
          if (reading.error === undefined) last = reading;
          return last ?? reading;
        },
      };
    }),
    "S5: an error is never remembered, and takes away what was",
  ],
  "holds its lock across the query": [
    over(({ read }) => {
      let lock: Promise<unknown> = Promise.resolve();
      return {
        current() {
          const turn = lock.then(async () => readingOf(await read(new AbortController().signal)));
          lock = turn.catch(() => {});
          return turn;
        },
      };
    }),
    "S5: nobody waits for a query that hangs longer than its time, and none runs beside it",
  ],
  "asks the database at every request": [
    over((parts) => createMigrationSource({ ...parts, ttlMs: 0 })),
    "S5: what was read is remembered, for all paths together",
  ],
  "says null instead of []": [
    bentBody((body) => (Array.isArray(body) && body.length === 0 ? null : body)),
    "S6: no migrations are an empty array, and never null",
  ],
  "says null for the migrations of /healthz": [
    bentBody((body) => {
      const migrations = body["async_migrations"];
      return Array.isArray(migrations) && migrations.length === 0 ? { ...body, async_migrations: null } : body;
    }),
    "S6: no migrations are an empty array, and never null",
  ],
  "swallows a read error": [
    over((parts) =>
      createMigrationSource({
        ...parts,
        read: async (signal) => {
          try {
            return await parts.read(signal);
          } catch {
            return [];
          }
        },
      }),
    ),
    "S6: a read error is a 500 with a body and a header",
  ],
  "answers a read error without a body": [
    bent((_, response) => (response.status === 500 ? { ...response, body: "{}" } : response)),
    "S6: a read error is a 500 with a body and a header",
  ],
  "puts an error into a header as it is": [
    bent((_, response) => {
      const { "x-async-migrations-error": error, ...headers } = response.headers;
      return error === undefined ? response : { ...response, headers: { ...headers, "x-async-migrations-error": "ω" } };
    }),
    "S6: a read error is a 500 with a body and a header",
  ],
  "forgets the header of /api/perf": [
    bent((url, response) => {
      const { "x-async-migrations-error": _, ...headers } = response.headers;
      return url === "/api/perf" ? { ...response, headers } : response;
    }),
    "S7: /api/perf goes on without the migrations, with [] and the header",
  ],
  "fails open": [
    bentBody((body) => ("async_migrations_error" in body ? { ...body, async_migrations_running: false } : body)),
    "S8: /healthz fails closed and shows the read error",
  ],
  "fails closed and does not say why": [
    bentBody((body) => ({ ...body, async_migrations_error: undefined })),
    "S8: /healthz fails closed and shows the read error",
  ],
  "takes a state it does not know for a running one": [
    over((parts) => {
      const source = createMigrationSource(parts);
      return {
        async current() {
          const reading = await source.current();
          if (reading.error !== undefined) return reading;
          const migrations = reading.migrations.map((each) =>
            each.status === "unknown" ? { ...each, status: "running" as const } : each,
          );
          return { ...reading, migrations };
        },
      };
    }),
    "S1: a state that is not known is unknown, and never steady",
  ],
  "believes the books about who works": [
    over((parts) => {
      const read = async (signal: AbortSignal) =>
        (await parts.read(signal)).map((sample) => ({ ...sample, heartbeatMs: Number.MAX_SAFE_INTEGER }));
      return createMigrationSource({ ...parts, read });
    }),
    "M13: a worker that is silent for two heartbeats is stalled at once, whatever is remembered",
  ],
  "remembers whether a worker lives": [
    over((parts) => {
      const source = createMigrationSource(parts);
      return {
        async current() {
          const reading = await source.current();
          return reading.error === undefined ? readingOf(reading.samples) : reading;
        },
      };
    }),
    "M13: a worker that is silent for two heartbeats is stalled at once, whatever is remembered",
  ],
  "shows a share as it comes": [
    over((parts) => {
      const source = createMigrationSource(parts);
      return {
        async current() {
          const reading = await source.current();
          if (reading.error !== undefined) return reading;
          const migrations = reading.migrations.map((each, index) => ({
            ...each,
            progress: reading.samples[index]?.progress ?? Number.NaN,
          }));
          return { ...reading, migrations };
        },
      };
    }),
    "M13: no share above one, and no number that is none",
  ],
};

test.each(Object.entries(surfaces))("a surface that %s is caught", async (_, [fake, killedBy]) => {
  await expect(surfacePromises[killedBy]?.(fake)).rejects.toThrow();
});

const banners: Readonly<Record<string, readonly [fake: typeof bannerLines, killedBy: keyof typeof bannerPromises]>> = {
  "hides what it cannot read (D8)": [
    (health, nowMs, dismissed) => bannerLines(health, nowMs, dismissed).filter(({ key }) => key !== "unreadable"),
    "fails closed: an error, a list that is missing and an answer that is none are lines",
  ],
  "hides a state it does not know (D9)": [
    (health, nowMs, dismissed) =>
      bannerLines(health, nowMs, dismissed).filter(({ text }) => !text.includes("not known here")),
    "every state but done has a line",
  ],
  "hides a stalled run (D13)": [
    (health, nowMs, dismissed) => bannerLines(health, nowMs, dismissed).filter(({ text }) => !text.includes("STALLED")),
    "every state but done has a line",
  ],
  "keys what was sent away by name (D10)": [
    (health, nowMs, dismissed) => {
      const names = [...(dismissed ?? [])].map((key) => (JSON.parse(key) as readonly unknown[])[0]);
      return bannerLines(health, nowMs, dismissed).filter(
        ({ text }) => !names.some((name) => text.includes(String(name))),
      );
    },
    "what was sent away stays away, and the next failure of the same migration shows",
  ],
  "sends away what has no time": [
    (health, nowMs, dismissed) =>
      bannerLines(health, nowMs, dismissed).filter(
        ({ isDismissible, untilMs }) => !isDismissible || untilMs !== undefined,
      ),
    "fails closed on missing and malformed times: such a failure stays until it is sent away",
  ],
  "keeps a failure for ever": [
    (health) => bannerLines(health, 0),
    "a failure goes by itself strictly after ten minutes",
  ],
  "says nothing where the server only says that something runs": [
    (health, nowMs, dismissed) => bannerLines(health, nowMs, dismissed).filter(({ key }) => key !== "running"),
    "what the server says is running is a line, also when it does not say what",
  ],
};

test.each(Object.entries(banners))("a banner that %s is caught", (_, [fake, killedBy]) => {
  expect(() => bannerPromises[killedBy]?.(fake)).toThrow();
});
