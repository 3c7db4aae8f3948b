import { createSimulation } from "@tidemark/clock/testing";
import type { Clock } from "@tidemark/clock";
import { expect } from "vitest";
import type { MigrationSample, PlainHandler, PlainResponse } from "../../src/index.ts";
import { at, sampleOf } from "./samples.ts";

export interface SurfaceParts {
  readonly read: (signal: AbortSignal) => readonly MigrationSample[] | Promise<readonly MigrationSample[]>;
  readonly onError: (error: unknown) => void;
  readonly clock: Clock;
}

/** Whatever answers the paths of migrations, with values remembered for 1 s and reads given up after 2 s. */
export type Surface = (parts: SurfaceParts) => PlainHandler;

interface Answer {
  readonly status: number;
  readonly headers: PlainResponse["headers"];
  // oxlint-disable-next-line typescript/no-explicit-any -- what is read from JSON is checked by what is expected of it
  readonly body: any;
}

interface Stage {
  readonly clock: Clock;
  readonly errors: unknown[];
  get(url: string): Promise<Answer>;
}

/** Runs a scenario in virtual time. */
async function on(surface: Surface, read: SurfaceParts["read"] | undefined, scenario: (stage: Stage) => Promise<void>) {
  const simulation = createSimulation({ seed: 1 });
  const errors: unknown[] = [];
  const { clock } = simulation;
  const handle = surface({ read: read ?? (() => []), onError: (error) => errors.push(error), clock });
  const get = async (url: string): Promise<Answer> => {
    const answer = await handle({ method: "GET", url, headers: {} });
    if (answer === undefined) throw new Error(`${url} is not known`);
    return { status: answer.status, headers: answer.headers, body: JSON.parse(String(answer.body)) };
  };
  await simulation.run(() => scenario({ clock, errors, get }));
}

const list = "/api/perf/async-migrations";
const everything = [list, "/api/perf", "/healthz"] as const;

/** What every surface of migrations has to do, one promise each. */
export const surfacePromises: Readonly<Record<string, (surface: Surface) => Promise<void>>> = {
  "S6: no migrations are an empty array, and never null": (surface) =>
    on(
      surface,
      () => [],
      async ({ get }) => {
        expect(await get(list)).toMatchObject({ status: 200, body: [] });
        expect((await get("/api/perf")).body.asyncMigrations).toEqual([]);
        expect((await get("/healthz")).body).toMatchObject({ async_migrations: [], async_migrations_running: false });
      },
    ),

  "S6: a read error is a 500 with a body and a header": (surface) =>
    on(
      surface,
      () => Promise.reject(new Error("no such column: ω\nat postgres://u:pw@h/db")),
      async ({ get, errors }) => {
        const { status, body, headers } = await get(list);
        expect(status).toBe(500);
        expect(body).toEqual({ error: "readAsyncMigrations: no such column: ω at postgres://***@h/db" });
        expect(headers["x-async-migrations-error"]).toBe("no such column: ? at postgres://***@h/db");
        expect(errors).toHaveLength(1);
      },
    ),

  "S7: /api/perf goes on without the migrations, with [] and the header": (surface) =>
    on(
      surface,
      () => Promise.reject(new Error("disk I/O error")),
      async ({ get }) => {
        const { status, body, headers } = await get("/api/perf");
        expect(status).toBe(200);
        expect(body).toMatchObject({ uptimeSeconds: 0, asyncMigrations: [] });
        expect(headers["x-async-migrations-error"]).toBe("disk I/O error");
      },
    ),

  "S8: /healthz fails closed and shows the read error": (surface) =>
    on(
      surface,
      () => Promise.reject(new Error("disk I/O error")),
      async ({ get }) => {
        const { status, body } = await get("/healthz");
        expect(status).toBe(200);
        expect(body).toMatchObject({
          status: "degraded",
          async_migrations: [],
          async_migrations_running: true,
          async_migrations_error: "disk I/O error",
        });
      },
    ),

  "what is not a list is a read error": (surface) =>
    on(
      surface,
      () => null as never,
      async ({ get }) => {
        expect(await get(list)).toMatchObject({ status: 500, body: { error: expect.stringMatching(/got null/) } });
        expect((await get("/healthz")).body).toMatchObject({ async_migrations: [], async_migrations_running: true });
      },
    ),

  "S5: what was read is remembered, for all paths together": (surface) => {
    let reads = 0;
    return on(
      surface,
      () => (reads++, [sampleOf()]),
      async ({ get, clock }) => {
        await Promise.all(everything.map(get));
        expect(reads).toBe(1);
        await clock.sleep(999);
        await get(list);
        expect(reads).toBe(1);
        await clock.sleep(1);
        await get(list);
        expect(reads).toBe(2);
      },
    );
  },

  "S5: an error is never remembered, and takes away what was": (surface) => {
    let reads = 0;
    const read = () => {
      reads++;
      if (reads === 2 || reads === 3) throw new Error(`error ${reads}`);
      return [sampleOf({ rowsDone: reads })];
    };
    return on(surface, read, async ({ get, clock }) => {
      expect((await get(list)).body[0].rowsProcessed).toBe(1);
      await clock.sleep(1000);
      expect((await get(list)).body).toEqual({ error: "readAsyncMigrations: error 2" });
      expect((await get(list)).body).toEqual({ error: "readAsyncMigrations: error 3" });
      expect((await get(list)).body[0].rowsProcessed).toBe(4);
    });
  },

  "S5: nobody waits for a query that hangs longer than its time, and none runs beside it": (surface) => {
    let running = 0;
    const read = () => {
      running++;
      return new Promise<never>(() => {});
    };
    return on(surface, read, async ({ get, clock, errors }) => {
      const answers = await Promise.all([get(list), get("/healthz"), get("/api/perf")]);
      expect(answers.map(({ status }) => status)).toEqual([500, 200, 200]);
      expect(errors).toMatchObject([{ code: "TIMEOUT" }]);
      expect(clock.monotonic()).toBeLessThanOrEqual(2000);
      expect(answers[1]?.body).toMatchObject({ async_migrations_running: true });
      // From now on nobody waits at all.
      await get(list);
      expect(clock.monotonic()).toBeLessThanOrEqual(2000);
      expect(running).toBe(1);
    });
  },

  "S1: a state that is not known is unknown, and never steady": (surface) =>
    on(
      surface,
      () => [sampleOf({ state: "", storedState: "" as never }), sampleOf({ name: "new", state: "compacting" })],
      async ({ get }) => {
        const { body } = await get("/healthz");
        expect(body.async_migrations).toMatchObject([
          { status: "unknown" },
          { status: "unknown", state: "compacting" },
        ]);
        expect(body).toMatchObject({ async_migrations_running: true, status: "degraded" });
      },
    ),

  "S8: what failed is not running, and is told": (surface) =>
    on(
      surface,
      () => [
        sampleOf({
          state: "failed",
          endedAt: at(0),
          error: { code: "SQL_FAILED", message: "password=hunter2 is wrong" },
        }),
        sampleOf({ name: "other", state: "done", endedAt: at(0), rowsDone: 1000 }),
      ],
      async ({ get }) => {
        const { body } = await get("/healthz");
        expect(body).toMatchObject({ async_migrations_running: false, status: "degraded" });
        expect(body.async_migrations[0]).toMatchObject({
          status: "failed",
          errorCode: "SQL_FAILED",
          errorMessage: "password=*** is wrong",
          elapsedSec: 10,
          etaSec: 0,
          ratePerSec: 0,
        });
        expect(body.async_migrations[1]).toMatchObject({ status: "done", progress: 1 });
        expect(body.async_migrations[1]).not.toHaveProperty("errorMessage");
      },
    ),

  "S2: what runs has its time, rate and ETA, under the seed's names": (surface) =>
    on(
      surface,
      () => [sampleOf({ throttleReason: "wal: 40 MiB", state: "throttled" })],
      async ({ get }) => {
        expect((await get(list)).body).toEqual([
          {
            name: "fill",
            status: "running",
            state: "throttled",
            startedAt: "2025-12-31T23:59:50.000Z",
            lastUpdateAt: "2026-01-01T00:00:00.000Z",
            heartbeatAt: "2026-01-01T00:00:00.000Z",
            rowsProcessed: 100,
            rowsTotal: 1000,
            rowsChanged: 90,
            rowsQuarantined: 0,
            totalKind: "exact",
            progress: 0.1,
            elapsedSec: 10,
            etaSec: 90,
            ratePerSec: 10,
            yieldShare: 0.5,
            throttleReason: "wal: 40 MiB",
            chunks: 5,
            runNo: 1,
            owner: "host:1:a",
            waitsFor: [],
          },
        ]);
      },
    ),

  "M13: a worker that is silent for two heartbeats is stalled at once, whatever is remembered": (surface) => {
    let reads = 0;
    const read = () => (reads++, [sampleOf({ heartbeatAt: at(-0.5), heartbeatMs: 500, readAt: at(0) })]);
    return on(surface, read, async ({ get, clock }) => {
      expect((await get(list)).body).toMatchObject([{ status: "running" }]);
      await clock.sleep(500);
      expect((await get(list)).body).toMatchObject([{ status: "running" }]);
      await clock.sleep(1);
      expect((await get(list)).body).toMatchObject([{ status: "stalled", ratePerSec: 0, etaSec: 0 }]);
      expect((await get("/healthz")).body).toMatchObject({ async_migrations_running: true, status: "degraded" });
      expect(reads).toBe(1);
    });
  },

  "M13: no share above one, and no number that is none": (surface) =>
    on(
      surface,
      () => [
        sampleOf({ rowsDone: 5000, progress: 5, etaMs: Number.NaN, rowsPerSecond: Number.POSITIVE_INFINITY }),
        sampleOf({
          total: undefined,
          progress: undefined,
          totalKind: "none",
          etaMs: undefined,
          rowsPerSecond: undefined,
        }),
        sampleOf({ progress: Number.NaN, startedAt: at(100), yieldShare: 3 }),
      ],
      async ({ get }) => {
        const { body } = await get(list);
        expect(body[0]).toMatchObject({ progress: 0.999, etaSec: 0, ratePerSec: 0 });
        expect(body[1]).toMatchObject({ rowsTotal: 0, totalKind: "none" });
        expect(body[1]).not.toHaveProperty("progress");
        expect(body[2]).toMatchObject({ elapsedSec: 0, yieldShare: 1 });
      },
    ),

  "S3: a time that cannot be read is told for every status, and never shown": (surface) =>
    on(
      surface,
      () => [
        sampleOf({ startedAt: Number.NaN }),
        sampleOf({ state: "failed", endedAt: Number.POSITIVE_INFINITY, error: { code: "BODY_FAILED", message: "no" } }),
        sampleOf({ heartbeatAt: Number.NaN }),
      ],
      async ({ get }) => {
        const { body } = await get(list);
        expect(body[0].errorMessage).toBe("startedAt: NaN is no time");
        expect(body[1].errorMessage).toBe("no | endedAt: Infinity is no time");
        expect(body[1]).not.toHaveProperty("endedAt");
        expect(body[2]).toMatchObject({ status: "stalled" });
      },
    ),
};
