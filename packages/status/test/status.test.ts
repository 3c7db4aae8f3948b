import { createServer } from "node:http";
import { request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, onTestFinished, test } from "vitest";
import {
  type Check,
  createMigrationSource,
  createStatus,
  Metrics,
  type PlainResponse,
  type Status,
  type StatusOptions,
  toFetchHandler,
  toNodeListener,
} from "../src/index.ts";

const get = async (status: Status, url: string, method = "GET"): Promise<PlainResponse> => {
  const answer = await status.handle({ method, url, headers: {} });
  if (answer === undefined) throw new Error(`${url} is not known`);
  return answer;
};

const parsed = (response: PlainResponse) => JSON.parse(String(response.body));

/** A status in virtual time, and one request to it. */
async function ask(options: StatusOptions, url: string) {
  const { clock, run } = simulated();
  const response = await run(() => get(createStatus({ ...options, clock }), url));
  return { status: response.status, body: parsed(response), response };
}

function simulated() {
  const simulation = createSimulation({ seed: 1 });
  return { clock: simulation.clock, run: simulation.run.bind(simulation) };
}

async function serve(status: Status): Promise<string> {
  const listener = toNodeListener(status.handle);
  const server = createServer((request, response) => {
    if (!listener(request, response)) response.writeHead(404).end("somebody else's");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("without checks the process is alive and ready", async () => {
  expect(await ask({ version: "1.2.3" }, "/healthz")).toMatchObject({
    status: 200,
    body: { status: "ok", version: "1.2.3", uptimeSeconds: 0, checks: {} },
  });
  expect(await ask({}, "/readyz")).toMatchObject({ status: 200, body: { ready: true, checks: {} } });
});

test("every check is named with its state, detail, data, duration and time", async () => {
  const { clock, run } = simulated();
  const status = createStatus({
    clock,
    liveness: {
      history: async () => {
        await clock.sleep(12);
        return { state: "degraded", detail: "the disk is 95 % full", data: { free: 10 } };
      },
      loop: () => {},
    },
  });
  const response = await run(() => get(status, "/healthz"));
  expect(response.status).toBe(200);
  expect(parsed(response)).toEqual({
    status: "degraded",
    uptimeSeconds: 0,
    checks: {
      history: {
        state: "degraded",
        detail: "the disk is 95 % full",
        data: { free: 10 },
        tookMs: 12,
        at: "2026-01-01T00:00:00.000Z",
      },
      loop: { state: "ok", tookMs: 0, at: "2026-01-01T00:00:00.000Z" },
    },
  });
});

const failures: readonly (readonly [string, Check, string])[] = [
  [
    "throws",
    () => {
      throw new Error("no such table: versions");
    },
    "no such table: versions",
  ],
  ["rejects", () => Promise.reject(new Error("disk I/O error")), "disk I/O error"],
  ["never answers", () => new Promise(() => {}), '[TIMEOUT] The check "it" gave no answer within 2000 ms'],
  ["says failing", () => ({ state: "failing", detail: "full" }), "full"],
  ["says something unknown", () => ({ state: "fine" }) as never, 'The check gave the unknown state "fine"'],
  ["says null", () => null as never, "The check gave the unknown state undefined"],
  ["tells a secret", () => Promise.reject(new Error("http://u:pw@h failed")), "http://***@h failed"],
];

test.each(failures)("fails closed with 503 and the reason when a check %s", async (_name, it, detail) => {
  const health = await ask({ liveness: { it, other: () => {} } }, "/healthz");
  expect(health.status).toBe(503);
  expect(health.body).toMatchObject({
    status: "failing",
    checks: { it: { state: "failing", detail }, other: { state: "ok" } },
  });
  const ready = await ask({ readiness: { it, other: () => {} } }, "/readyz");
  expect(ready.status).toBe(503);
  expect(ready.body).toMatchObject({ ready: false, reason: `it: ${detail}` });
});

test("checks run side by side", async () => {
  const { clock, run } = simulated();
  const slow = () => clock.sleep(1_500);
  const status = createStatus({ clock, liveness: { a: slow, b: slow, c: slow } });
  await run(() => status.health());
  expect(clock.monotonic()).toBe(1_500);
});

test("a good check is remembered for its time, a failing one is asked every time", async () => {
  const { clock, run } = simulated();
  let good = 0;
  let bad = 0;
  const status = createStatus({
    clock,
    checkTtlMs: 1_000,
    liveness: {
      good: () => void good++,
      bad: () => {
        bad++;
        throw new Error("bad");
      },
    },
  });
  await run(async () => {
    for (let i = 0; i < 3; i++) await status.health();
    expect([good, bad]).toEqual([1, 3]);
    await clock.sleep(1_000);
    await status.health();
    expect([good, bad]).toEqual([2, 4]);
  });
});

test("readiness changes nothing about liveness", async () => {
  const { clock, run } = simulated();
  const status = createStatus({ clock, readiness: { streams: () => ({ state: "failing", detail: "snapshotting" }) } });
  await run(async () => {
    expect((await get(status, "/healthz")).status).toBe(200);
    expect((await get(status, "/readyz")).status).toBe(503);
  });
});

test("other paths are left alone, and so is /metrics without metrics", () => {
  const { handle } = createStatus();
  for (const url of ["/", "/healthz/", "/healthz2", "/metrics", "//healthz"]) {
    expect(handle({ method: "GET", url, headers: {} })).toBe(undefined);
  }
});

test("a query does not matter", async () => {
  expect((await get(createStatus(), "/healthz?verbose=1")).status).toBe(200);
});

test("metrics that cannot be rendered are a 500 that tells why", async () => {
  const metrics = { contentType: "text/plain", render: () => Promise.reject(new Error("token=abc broke")) };
  const response = await get(createStatus({ metrics }), "/metrics");
  expect(response).toMatchObject({ status: 500, body: "The metrics could not be read: token=*** broke\n" });
});

test("a real server answers GET with the whole report and no caching", async ({ signal }) => {
  const metrics = new Metrics();
  onTestFinished(() => metrics.close());
  const origin = await serve(createStatus({ metrics, liveness: { it: () => {} } }));
  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    const response = await fetch(origin + path, { signal });
    expect(response.status).toBe(200);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.get("x-content-type-options")).toBe("nosniff");
    expect(Number(response.headers.get("content-length"))).toBe((await response.arrayBuffer()).byteLength);
  }
  const other = await fetch(`${origin}/other`, { signal });
  expect([other.status, await other.text()]).toEqual([404, "somebody else's"]);
});

test("a real server answers HEAD with the same headers and nothing else", async ({ signal }) => {
  const origin = await serve(createStatus({ readiness: { it: () => ({ state: "failing" }) } }));
  const head = await fetch(`${origin}/readyz`, { method: "HEAD", signal });
  expect(head.status).toBe(503);
  expect(Number(head.headers.get("content-length"))).toBeGreaterThan(0);
  expect(await head.text()).toBe("");
});

test.each(["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])("a real server refuses %s with 405", async (method) => {
  let runs = 0;
  const origin = await serve(createStatus({ liveness: { it: () => void runs++ } }));
  const response = await fetch(`${origin}/healthz`, { method });
  expect(response.status).toBe(405);
  expect(response.headers.get("allow")).toBe("GET, HEAD");
  expect(runs).toBe(0);
});

test("a client that leaves early harms nobody", async ({ signal }) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const origin = await serve(
    createStatus({
      liveness: {
        it: () => {
          asked.resolve();
          return promise;
        },
      },
    }),
  );
  const request = httpRequest(`${origin}/healthz`).end();
  request.on("error", () => {});
  await asked.promise;
  const closed = new Promise<void>((done) => request.on("close", done));
  request.destroy();
  await closed;
  resolve();
  expect((await fetch(`${origin}/healthz`, { signal })).status).toBe(200);
});

test("the fetch adapter answers the same", async () => {
  const handler = toFetchHandler(createStatus({ liveness: { it: () => ({ state: "failing", detail: "x" }) } }).handle);
  const response = await handler(new Request("http://h/healthz?a=b"));
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ checks: { it: { detail: "x" } } });
  const head = await handler(new Request("http://h/healthz", { method: "HEAD" }));
  expect([head.status, await head.text()]).toEqual([503, ""]);
  expect((await handler(new Request("http://h/healthz", { method: "POST" }))).status).toBe(405);
  expect((await handler(new Request("http://h/nowhere"))).status).toBe(404);
});

test("refuses times that make no sense", () => {
  expect(() => createStatus({ checkTtlMs: -1 })).toThrow("[OPTIONS_INVALID] checkTtlMs must be at least 0, got -1");
  expect(() => createStatus({ checkTimeoutMs: 0 })).toThrow("checkTimeoutMs must be above 0, got 0");
});

test("who may not see details gets the verdict and its status code", async () => {
  const showsDetails: StatusOptions["showsDetails"] = ({ headers }) => headers["authorization"] === "Bearer known";
  const failing: Check = () => {
    throw new Error("secret place");
  };
  const status = createStatus({
    showsDetails,
    version: "1.2.3",
    liveness: { history: failing },
    readiness: { streams: failing },
    migrations: createMigrationSource({ read: () => [] }),
  });
  const asked = async (url: string, authorization?: string) => {
    const answer = await status.handle({ method: "GET", url, headers: { authorization } });
    return [answer?.status, JSON.parse(String(answer?.body))];
  };
  expect(await asked("/healthz")).toEqual([503, { status: "failing" }]);
  expect(await asked("/readyz", "Bearer wrong")).toEqual([503, { ready: false }]);
  expect(await asked("/healthz", "Bearer known")).toMatchObject([
    503,
    { status: "failing", version: "1.2.3", async_migrations: [], checks: { history: { detail: "secret place" } } },
  ]);
  expect(await asked("/readyz", "Bearer known")).toMatchObject([503, { reason: "streams: secret place" }]);
});
