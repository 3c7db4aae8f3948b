import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createSimulation } from "@tidemark/clock/testing";
import fc from "fast-check";
import { register } from "prom-client";
import { expect, onTestFinished, test } from "vitest";
import {
  addStreamMetrics,
  createStatus,
  Metrics,
  type MetricsOptions,
  type StreamSample,
  toNodeListener,
} from "../src/index.ts";
import { parseExposition } from "./exposition.ts";

function create(options: MetricsOptions = { withProcess: false }): Metrics {
  const metrics = new Metrics(options);
  onTestFinished(() => metrics.close());
  return metrics;
}

const sample = (more: Partial<StreamSample> = {}): StreamSample => ({
  name: "etcd",
  kind: "etcd",
  state: "live",
  hasProblem: false,
  keys: 3n,
  versions: 10n,
  gaps: 0n,
  quarantined: 0n,
  reconnects: 2n,
  drops: 0n,
  duplicates: 1n,
  inflightBytes: 4096n,
  lastFrameAtMs: 1_767_225_600_500n,
  ...more,
});

test("a scrape over HTTP is valid text format with the process in it", async ({ signal }) => {
  const metrics = create({ version: "1.2.3" });
  const listener = toNodeListener(createStatus({ metrics }).handle);
  const server = createServer((request, response) => void listener(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`, { signal });
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");

  const scrape = parseExposition(await response.text());
  expect(scrape.value("tidemark_build_info", { version: "1.2.3" })).toBe(1);
  expect(scrape.value("nodejs_version_info", { version: process.version })).toBe(1);
  expect(scrape.value("process_resident_memory_bytes")).toBeGreaterThan(1e6);
  expect(scrape.value("nodejs_heap_size_used_bytes")).toBeLessThanOrEqual(
    scrape.value("nodejs_heap_size_total_bytes") ?? 0,
  );
  expect(scrape.value("process_cpu_seconds_total")).toBeGreaterThan(0);
  expect(scrape.value("process_start_time_seconds")).toBeGreaterThan(1.7e9);
  expect(scrape.types.get("process_cpu_seconds_total")).toBe("counter");
});

test("a blocked event loop shows, and an idle one does not count the sampling interval", async () => {
  const simulation = createSimulation({ seed: 1 });
  const metrics = create({ clock: simulation.clock });
  const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 25));
  await turn();
  const untilMs = performance.now() + 150;
  while (performance.now() < untilMs);
  await turn();
  const blocked = parseExposition(await metrics.render());
  expect(blocked.value("nodejs_eventloop_lag_max_seconds")).toBeGreaterThan(0.1);
  // How late the other turns were is the machine's business.
  expect(blocked.value("nodejs_eventloop_lag_p50_seconds")).toBeLessThanOrEqual(
    blocked.value("nodejs_eventloop_lag_max_seconds") as number,
  );
  // A second scraper a moment later still sees it; one after the window does not.
  const second = parseExposition(await metrics.render());
  expect(second.value("nodejs_eventloop_lag_max_seconds")).toBeGreaterThan(0.1);
  await simulation.advance(5_000);
  await metrics.render();
  const later = parseExposition(await metrics.render());
  expect(later.value("nodejs_eventloop_lag_max_seconds")).toBe(0);
});

test("CPU time only grows", async () => {
  const cpuSeconds = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  };
  const before = cpuSeconds();
  const metrics = create({});
  const seen: number[] = [];
  for (let i = 0; i < 5; i++) {
    seen.push(parseExposition(await metrics.render()).value("process_cpu_seconds_total") ?? Number.NaN);
  }
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  // It is that of the process, no more than now (but for the rounding of sums) and no less than at the beginning.
  expect(seen.at(-1)).toBeLessThanOrEqual(cpuSeconds() + 1e-6);
  expect(seen[0]).toBeGreaterThanOrEqual(before);
});

test("two registries do not see each other, and the global one stays empty", async () => {
  const one = create({});
  const two = create({});
  one.counter({ name: "only_here_total", help: "x" }).inc();
  expect(await one.render()).toContain("only_here_total 1");
  expect(await two.render()).not.toContain("only_here_total");
  expect(register.getMetricsAsArray()).toEqual([]);
});

test("any label value survives the text format", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "grapheme" }), fc.double({ noNaN: true }), async (name, value) => {
      const metrics = new Metrics({ withProcess: false });
      metrics.gauge({ name: "it", help: "x\\y\nz", labelNames: ["name"] }).set({ name }, value);
      expect(parseExposition(await metrics.render()).value("it", { name })).toBe(value === 0 ? 0 : value);
    }),
    { numRuns: 200 },
  );
});

test("streams show their state, numbers and times", async () => {
  const metrics = create();
  addStreamMetrics(metrics, {
    read: () => [sample(), sample({ name: "cat", state: "reconnecting", hasProblem: true })],
  });
  const scrape = parseExposition(await metrics.render());
  const stream = "etcd";
  expect(scrape.value("tidemark_metrics_source_up", { source: "streams" })).toBe(1);
  expect(scrape.value("tidemark_stream_info", { stream, kind: "etcd" })).toBe(1);
  expect(scrape.value("tidemark_stream_state", { stream, state: "live" })).toBe(1);
  expect(scrape.value("tidemark_stream_state", { stream, state: "reconnecting" })).toBe(0);
  expect(scrape.value("tidemark_stream_state", { stream: "cat", state: "reconnecting" })).toBe(1);
  expect(scrape.value("tidemark_stream_problem", { stream: "cat" })).toBe(1);
  expect(scrape.value("tidemark_stream_keys", { stream })).toBe(3);
  expect(scrape.value("tidemark_stream_versions", { stream })).toBe(10);
  expect(scrape.value("tidemark_stream_reconnects_total", { stream })).toBe(2);
  expect(scrape.value("tidemark_stream_inflight_bytes", { stream })).toBe(4096);
  expect(scrape.value("tidemark_stream_last_frame_timestamp_seconds", { stream })).toBe(1_767_225_600.5);
  // Unknown is not zero.
  expect(scrape.value("tidemark_stream_last_commit_timestamp_seconds", { stream })).toBe(undefined);
});

test("a state nobody announced is shown too, and what vanished is not", async () => {
  const simulation = createSimulation({ seed: 1 });
  const metrics = create({ withProcess: false, clock: simulation.clock });
  let samples = [sample({ state: "confused" }), sample({ name: "old" })];
  addStreamMetrics(metrics, { read: () => samples });
  expect(parseExposition(await metrics.render()).value("tidemark_stream_state", { state: "confused" })).toBe(1);
  samples = [sample()];
  await simulation.advance(1_000);
  const text = await metrics.render();
  expect(text).not.toContain("confused");
  expect(text).not.toContain('stream="old"');
  // A total is set, not added up over scrapes.
  expect(parseExposition(text).value("tidemark_stream_reconnects_total", { stream: "etcd" })).toBe(2);
});

test("a source that fails takes away its own series, says so, and comes back", async () => {
  const simulation = createSimulation({ seed: 1 });
  const metrics = create({ withProcess: false, clock: simulation.clock });
  let isBroken = false;
  addStreamMetrics(metrics, {
    read: async () => {
      if (isBroken) throw new Error("database is locked");
      return [sample()];
    },
  });
  metrics.counter({ name: "other_total", help: "x" }).inc();
  const scrape = async () => parseExposition(await metrics.render());
  const up = "tidemark_metrics_source_up";

  expect((await scrape()).value("tidemark_stream_keys")).toBe(3);
  isBroken = true;
  await simulation.advance(1_000);
  const broken = await scrape();
  expect([broken.value(up), broken.value("tidemark_stream_keys")]).toEqual([0, undefined]);
  expect(broken.value("other_total")).toBe(1);
  isBroken = false;
  const back = await scrape();
  expect([back.value(up), back.value("tidemark_stream_keys")]).toEqual([1, 3]);
});

test("a source that hangs does not hold up the scrape for longer than its timeout", async () => {
  const simulation = createSimulation({ seed: 1 });
  const metrics = create({ withProcess: false, clock: simulation.clock });
  metrics.addSource({ name: "stuck", read: () => new Promise<never>(() => {}), write: () => {}, clear: () => {} });
  await simulation.run(async () => {
    const scrape = parseExposition(await metrics.render());
    expect(scrape.value("tidemark_metrics_source_up", { source: "stuck" })).toBe(0);
  });
  expect(simulation.clock.monotonic()).toBe(2_000);
});

test("scrapes that overlap see whole series", async () => {
  const metrics = create();
  const many = Array.from({ length: 50 }, (_, i) => sample({ name: `s${i}` }));
  addStreamMetrics(metrics, { read: () => many, ttlMs: 0 });
  const texts = await Promise.all(Array.from({ length: 10 }, () => metrics.render()));
  for (const text of texts) {
    const { samples } = parseExposition(text);
    expect(samples.filter((s) => s.name === "tidemark_stream_keys")).toHaveLength(50);
  }
});

test("commits go into histograms in seconds", async () => {
  const metrics = create();
  const streams = addStreamMetrics(metrics, { read: () => [] });
  streams.observeCommit("etcd", { lagMs: 3, commitMs: 1, versions: 100 });
  streams.observeCommit("etcd", { lagMs: 30, commitMs: 2, versions: 5 });
  const scrape = parseExposition(await metrics.render());
  const lag = (le: string) => scrape.value("tidemark_stream_lag_seconds_bucket", { stream: "etcd", le });
  expect([lag("0.0025"), lag("0.005"), lag("0.05"), lag("+Inf")]).toEqual([0, 1, 2, 2]);
  expect(scrape.value("tidemark_stream_lag_seconds_sum")).toBeCloseTo(0.033);
  expect(scrape.value("tidemark_stream_commit_seconds_count")).toBe(2);
  expect(scrape.value("tidemark_stream_committed_versions_total", { stream: "etcd" })).toBe(105);
});

test("a taken or impossible name is refused with a code", () => {
  const metrics = create();
  metrics.gauge({ name: "it", help: "x" });
  expect(() => metrics.counter({ name: "it", help: "x" })).toThrow("[OPTIONS_INVALID]");
  expect(() => metrics.gauge({ name: "not valid", help: "x" })).toThrow("[OPTIONS_INVALID]");
  addStreamMetrics(metrics, { read: () => [] });
  expect(() => addStreamMetrics(metrics, { read: () => [] })).toThrow("[OPTIONS_INVALID]");
});
