import { expect, onTestFinished, test } from "vitest";
import { createSimulation } from "@tidemark/clock/testing";
import { addMigrationMetrics, createMigrationSource, createStatus, Metrics, type PlainResponse } from "../src/index.ts";
import { parseExposition } from "./exposition.ts";
import { at, sampleOf } from "./support/samples.ts";
import { type Surface, surfacePromises } from "./support/surface-contract.ts";

const real: Surface = ({ read, onError, clock }) =>
  createStatus({ clock, migrations: createMigrationSource({ read, onError, clock }) }).handle;

for (const [name, promise] of Object.entries(surfacePromises)) test(name, () => promise(real));

test("without migrations /healthz does not speak of them, and the list is empty where there is a /api/perf", async () => {
  const { handle } = createStatus({
    perf: { queue: () => ({ length: 3 }), bad: () => Promise.reject(new Error("no")) },
  });
  const get = async (url: string) => (await handle({ method: "GET", url, headers: {} })) as PlainResponse;
  expect(JSON.parse(String((await get("/api/perf")).body))).toMatchObject({
    queue: { length: 3 },
    bad: { error: "no" },
    asyncMigrations: [],
    memory: { rssBytes: expect.any(Number) },
  });
  expect(await get("/api/perf/async-migrations")).toMatchObject({ status: 200, body: "[]\n" });
  expect(String((await get("/healthz")).body)).not.toContain("async_migrations");
  expect(createStatus().handle({ method: "GET", url: "/api/perf", headers: {} })).toBe(undefined);
});

test("a reading that takes too long is told once, also where it ends with its signal", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const errors: unknown[] = [];
  const source = createMigrationSource({
    clock,
    onError: (error) => errors.push(error),
    read: (signal) =>
      new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
  });
  await simulation.run(async () => {
    await Promise.all([source.current(), source.current()]);
    expect(errors).toMatchObject([{ code: "TIMEOUT" }]);
    await source.current();
    expect(errors).toHaveLength(2);
  });
});

test("metrics of migrations: their states, counts, rates and reasons; and none when they cannot be read", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  let isBroken = false;
  let throttleReason = "wal: 40 MiB";
  const source = createMigrationSource({
    clock,
    ttlMs: 0,
    read: () => {
      if (isBroken) throw new Error("gone");
      return [
        sampleOf({ state: "throttled", throttleReason }),
        sampleOf({ name: "late", state: "done", endedAt: at(5), rowsDone: 1000, rowsQuarantined: 2 }),
      ];
    },
  });
  const metrics = new Metrics({ clock, withProcess: false });
  onTestFinished(() => metrics.close());
  addMigrationMetrics(metrics, source);
  await simulation.run(async () => {
    const text = await metrics.render();
    parseExposition(text);
    for (const line of [
      'tidemark_migration_state{migration="fill",state="throttled"} 1',
      'tidemark_migration_state{migration="fill",state="running"} 0',
      'tidemark_migration_state{migration="late",state="done"} 1',
      'tidemark_migration_throttled{migration="fill",reason="wal"} 1',
      'tidemark_migration_rows_done{migration="fill"} 100',
      'tidemark_migration_rows{migration="fill"} 1000',
      'tidemark_migration_rows_per_second{migration="fill"} 10',
      'tidemark_migration_eta_seconds{migration="fill"} 90',
      'tidemark_migration_yield_ratio{migration="fill"} 0.5',
      'tidemark_migration_progress_ratio{migration="late"} 1',
      'tidemark_migration_rows_quarantined{migration="late"} 2',
      'tidemark_migration_chunks_total{migration="fill"} 5',
      `tidemark_migration_end_timestamp_seconds{migration="late"} ${at(5) / 1000}`,
      'tidemark_metrics_source_up{source="migrations"} 1',
    ]) {
      expect(text.split("\n")).toContain(line);
    }
    expect(text).not.toContain('tidemark_migration_eta_seconds{migration="late"}');
    expect(await metrics.render()).toContain('tidemark_migration_chunks_total{migration="fill"} 5');
    // A series each would be one more at every scrape.
    for (const reason of [
      "writer: it took 101.5 ms",
      "writer: it took 102.5 ms; wal: 40 MiB",
      "writer cannot be read: a",
    ]) {
      throttleReason = reason;
      expect(await metrics.render()).toContain('tidemark_migration_throttled{migration="fill",reason="writer"} 1');
    }
    isBroken = true;
    const broken = await metrics.render();
    expect(broken).toContain('tidemark_metrics_source_up{source="migrations"} 0');
    expect(broken).not.toMatch(/^tidemark_migration_\w+\{/m);
  });
});
