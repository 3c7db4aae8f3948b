import { type Clock, systemClock } from "@tidemark/clock";
import { type Check, type CheckReport, createChecks } from "./checks.ts";
import { errorText } from "./error-text.ts";
import { methodRefusal, type PlainHandler, type PlainRequest, type PlainResponse, pathOf } from "./http.ts";
import type { Metrics } from "./metrics.ts";
import {
  answerMigrations,
  answerPerf,
  hasTrouble,
  type MigrationHealth,
  migrationHealth,
  type PerfSection,
} from "./migrations/migration-routes.ts";
import type { MigrationSource } from "./migrations/migration-source.ts";
import { bannerScript } from "./migrations/banner-script.ts";
import { StatusError } from "./status-error.ts";
import { ttlCacheDefaults } from "./ttl-cache.ts";

export interface StatusOptions {
  /** Whether this process works at all; where one fails, restarting it may help. Served at `/healthz`. */
  readonly liveness?: Readonly<Record<string, Check>>;
  /** Whether this process can do its job now; where one fails, waiting may help. Served at `/readyz`. */
  readonly readiness?: Readonly<Record<string, Check>>;
  /** Served at `/metrics`. Left out, that path is unknown. */
  readonly metrics?: Pick<Metrics, "contentType" | "render">;
  /**
   * Shown at `/healthz`, `/api/perf` and `/api/perf/async-migrations`, with the banner's script at `/warmup-banner.js`.
   * Left out, `/healthz` does not speak of migrations and the list is empty.
   */
  readonly migrations?: MigrationSource;
  /** Parts of `/api/perf` by name, asked at every request. One that throws is an error in its place. */
  readonly perf?: Readonly<Record<string, PerfSection>>;
  /** Shown at `/healthz`. */
  readonly version?: string;
  /**
   * Whether who asks `/healthz` or `/readyz` may read the checks, the version and the migrations. Others get the verdict and
   * its status code alone: `{"status":"ok"}`, `{"ready":true}`. May not throw.
   * @default everybody may
   */
  readonly showsDetails?: (request: PlainRequest) => boolean;
  /**
   * How long a check that did not fail is remembered, in milliseconds, at least 0.
   * @default 1_000
   */
  readonly checkTtlMs?: number;
  /**
   * How long a check may take before it counts as failing, in milliseconds, above 0.
   * @default 2_000
   */
  readonly checkTimeoutMs?: number;
  /** @default systemClock */
  readonly clock?: Clock;
}

/** The defaults of {@link StatusOptions}. */
export const statusDefaults = {
  checkTtlMs: ttlCacheDefaults.ttlMs,
  checkTimeoutMs: ttlCacheDefaults.timeoutMs,
} as const satisfies Partial<Required<StatusOptions>>;

export interface HealthReport extends Partial<MigrationHealth> {
  /**
   * The worst state of any check; `ok` if there is none. Migrations that failed, stand still or cannot be read make it
   * `degraded` at worst: restarting this process would help none of them.
   */
  readonly status: "ok" | "degraded" | "failing";
  readonly version?: string;
  readonly uptimeSeconds: number;
  readonly checks: Readonly<Record<string, CheckReport>>;
}

export interface ReadyReport {
  readonly ready: boolean;
  /** Why not, for people: the failing checks by name. */
  readonly reason?: string;
  readonly checks: Readonly<Record<string, CheckReport>>;
}

export interface Status {
  /**
   * Answers `/healthz`, `/readyz`, `/metrics`, `/api/perf`, `/api/perf/async-migrations` and `/warmup-banner.js`, to GET and
   * HEAD; `undefined` for every other path.
   */
  readonly handle: PlainHandler;
  /** What `/healthz` shows. Never rejects. */
  health(): Promise<HealthReport>;
  /** What `/readyz` shows. Never rejects. */
  ready(): Promise<ReadyReport>;
}

const headers = (contentType: string) => ({
  "content-type": contentType,
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
});

const json = (status: number, body: unknown, more: Readonly<Record<string, string>> = {}): PlainResponse => ({
  status,
  headers: { ...headers("application/json; charset=utf-8"), ...more },
  body: `${JSON.stringify(body)}\n`,
});

/**
 * The answers every operator's tools ask for. They fail closed: whatever cannot be found out counts as failing,
 * with the reason shown and without credentials.
 *
 * @throws {StatusError} `OPTIONS_INVALID`.
 */
export function createStatus(options: StatusOptions = {}): Status {
  const { clock = systemClock, metrics, version, migrations, perf = {}, showsDetails = () => true } = options;
  const ttlMs = options.checkTtlMs ?? statusDefaults.checkTtlMs;
  const timeoutMs = options.checkTimeoutMs ?? statusDefaults.checkTimeoutMs;
  if (!(ttlMs >= 0)) throw new StatusError("OPTIONS_INVALID", `checkTtlMs must be at least 0, got ${ttlMs}`);
  if (!(timeoutMs > 0)) throw new StatusError("OPTIONS_INVALID", `checkTimeoutMs must be above 0, got ${timeoutMs}`);
  const liveness = createChecks({ checks: options.liveness ?? {}, clock, ttlMs, timeoutMs });
  const readiness = createChecks({ checks: options.readiness ?? {}, clock, ttlMs, timeoutMs });
  const startedMs = clock.monotonic();

  const facts = () => ({
    ...(version === undefined ? {} : { version }),
    uptimeSeconds: Math.floor((clock.monotonic() - startedMs) / 1000),
  });

  const health = async (): Promise<HealthReport> => {
    const [reports, migrating] = await Promise.all([
      liveness.run(),
      migrations === undefined ? undefined : migrationHealth(migrations, clock.now()),
    ]);
    const states = new Set([...reports.values()].map((report) => report.state));
    if (migrating !== undefined && hasTrouble(migrating)) states.add("degraded");
    return {
      status: states.has("failing") ? "failing" : states.has("degraded") ? "degraded" : "ok",
      ...facts(),
      ...migrating,
      checks: Object.fromEntries(reports),
    };
  };

  const ready = async (): Promise<ReadyReport> => {
    const reports = await readiness.run();
    const failing = [...reports].filter(([, report]) => report.state === "failing");
    const reason = failing.map(([name, { detail }]) => (detail === undefined ? name : `${name}: ${detail}`)).join("; ");
    return {
      ready: failing.length === 0,
      ...(failing.length === 0 ? {} : { reason }),
      checks: Object.fromEntries(reports),
    };
  };

  const routes = new Map<string, (request: PlainRequest) => Promise<PlainResponse>>([
    [
      "/healthz",
      async (request) => {
        const report = await health();
        const told = showsDetails(request) ? report : { status: report.status };
        return json(report.status === "failing" ? 503 : 200, told);
      },
    ],
    [
      "/readyz",
      async (request) => {
        const report = await ready();
        return json(report.ready ? 200 : 503, showsDetails(request) ? report : { ready: report.ready });
      },
    ],
  ]);
  if (migrations !== undefined || options.perf !== undefined) {
    routes.set("/api/perf", () => {
      const { rss, heapUsed, external } = process.memoryUsage();
      const memory = { rssBytes: rss, heapUsedBytes: heapUsed, externalBytes: external };
      return answerPerf({ ...facts(), memory }, perf, migrations, json);
    });
    routes.set("/api/perf/async-migrations", () => answerMigrations(migrations, json));
  }
  if (migrations !== undefined) {
    routes.set("/warmup-banner.js", async () => ({
      status: 200,
      headers: { ...headers("text/javascript; charset=utf-8"), "cache-control": "no-cache" },
      body: bannerScript(),
    }));
  }
  if (metrics !== undefined) {
    routes.set("/metrics", async () => {
      try {
        return { status: 200, headers: headers(metrics.contentType), body: await metrics.render() };
      } catch (error) {
        const body = `The metrics could not be read: ${errorText(error)}\n`;
        return { status: 500, headers: headers("text/plain; charset=utf-8"), body };
      }
    });
  }

  return {
    handle: (request) => {
      const route = routes.get(pathOf(request));
      return route === undefined ? undefined : (methodRefusal(request) ?? route(request));
    },
    health,
    ready,
  };
}
