// Who may do what with the page's services and the Watch API, and how much of it.
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { createTopicClient } from "@tidemark/topic";
import { Authority, type Issued } from "@tidemark/tooling/certificates";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { TidemarkConfig } from "../src/index.ts";
import { startDaemon, testFolder, tidemark, until } from "./support.ts";

const secrets = {
  reader: "reader-3f1c9a7e5b2d",
  writer: "writer-8d2e4f6a1c3b",
  admin: "admin-0a9b8c7d6e5f4",
} as const;
const env = { READER: secrets.reader, WRITER: secrets.writer };
const tokens: TidemarkConfig["tokens"] = [
  { name: "dashboard", token: { env: "READER" }, rights: "read" },
  { name: "shop", token: { env: "WRITER" }, rights: "write" },
  { name: "ops", token: { file: "ops.token" }, rights: "admin" },
];

let authority: Authority;
let server: Issued;
let client: Issued;

beforeAll(async () => {
  authority = await Authority.create();
  server = await authority.issue("server", "IP:127.0.0.1");
  client = await authority.issue("client", "DNS:client");
});
afterAll(() => authority.remove());

function configured(config: TidemarkConfig): readonly string[] {
  const folder = testFolder();
  writeFileSync(join(folder, "ops.token"), `${secrets.admin}\n`);
  const file = join(folder, "tidemark.config.json");
  writeFileSync(file, JSON.stringify(config));
  return ["--data", join(folder, "data"), "--config", file];
}

const admin = "tidemark.admin.v1.AdminService";
const upkeep = "tidemark.admin.v1.UpkeepService";
const watch = "tidemark.watch.v1.WatchService";

/** What a call answers: its HTTP status. */
async function call(url: string, method: string, token?: string, body = "{}"): Promise<number> {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const response = await fetch(`${url}/${method}`, { method: "POST", headers, body });
  await response.text();
  return response.status;
}

test("each token may do what its right says, at every address, and nobody more", async () => {
  const daemon = await startDaemon(configured({ tokens }), { env });
  const put = JSON.stringify({ key: "YQ==", value: "MQ==" });
  // The right that each call needs; 0 nothing, 1 read, 2 write, 3 admin.
  const calls: readonly (readonly [url: string, method: string, needed: number, body?: string])[] = [
    [daemon.http, `${admin}/Status`, 1],
    [daemon.http, `${admin}/List`, 1],
    [daemon.http, `${admin}/ResolveQuarantined`, 3],
    [daemon.http, `${upkeep}/Audits`, 1],
    [daemon.http, "tidemark.sites.v1.SitesService/Missing", 1],
    [daemon.http, `${watch}/Get`, 1, put],
    [daemon.http, `${watch}/Put`, 2, put],
    [daemon.watch ?? "", `${watch}/Status`, 1],
    [daemon.watch ?? "", `${watch}/Put`, 2, put],
    [daemon.watch ?? "", `${watch}/Compact`, 3],
  ];
  const people = [
    [undefined, 0],
    ["nobody-knows-this-one", 0],
    [secrets.reader, 1],
    [secrets.writer, 2],
    [secrets.admin, 3],
  ] as const;
  for (const [url, method, needed, body] of calls) {
    for (const [token, rights] of people) {
      const status = await call(url, method, token, body);
      const refusal = rights === 0 ? 401 : 403;
      expect(status === refusal, `${method} with ${token} answered ${status}`).toBe(rights < needed);
      expect(status).not.toBe(500);
    }
  }
  const get = async (path: string, token?: string) => {
    const response = await fetch(daemon.http + path, token ? { headers: { authorization: `Bearer ${token}` } } : {});
    await response.text();
    return response.status;
  };
  expect(await Promise.all(["/healthz", "/readyz", "/", "/metrics"].map((path) => get(path)))).toEqual([
    200, 200, 200, 401,
  ]);
  const health = async (path: string, token?: string): Promise<unknown> => {
    const response = await fetch(daemon.http + path, token ? { headers: { authorization: `Bearer ${token}` } } : {});
    return response.json();
  };
  // A probe without a token is told whether it works, and nothing of what it does.
  expect([await health("/healthz"), await health("/readyz")]).toEqual([{ status: "ok" }, { ready: true }]);
  expect(await health("/healthz", "nobody-knows-this-one")).toEqual({ status: "ok" });
  expect(await health("/healthz", secrets.reader)).toMatchObject({
    status: "ok",
    version: expect.any(String),
    checks: { history: {} },
  });
  expect(await health("/readyz", secrets.reader)).toMatchObject({ ready: true, checks: { streams: { state: "ok" } } });
  expect([await get("/metrics", secrets.reader), await get("/metrics", "a-wrong-one-altogether")]).toEqual([200, 401]);
  // What it follows itself is followed: its own token is a secret of the process.
  expect((await daemon.cli(["get", "a", "--fresh"], { env: { TIDEMARK_TOKEN: secrets.reader } })).stdout).toBe("1\n");
  const refused = await daemon.cli(["put", "a", "2"], { env: { TIDEMARK_TOKEN: secrets.reader } });
  expect(refused.stderr).toMatch(
    /does not allow it: "dashboard" has the right to read; this needs write[^]*TIDEMARK_TOKEN/,
  );
  const audit = await daemon.cli(["audit"], { env: { TIDEMARK_TOKEN: secrets.writer } });
  expect(audit.stderr).toMatch(/"shop" has the right to write; this needs admin/);
  expect((await daemon.cli(["status"])).stderr).toMatch(/wants to know who you are[^]*TIDEMARK_TOKEN/);

  const topics = (token: string) => {
    const made = createTopicClient(daemon.topics ?? "", { credentials: { token } });
    onTestFinished(() => made.close());
    return made;
  };
  await topics(secrets.admin).createTopic("orders", { consumers: ["c"] });
  expect((await topics(secrets.reader).describeTopic("orders")).consumers).toHaveLength(1);
  await expect(topics(secrets.writer).dropTopic("orders")).rejects.toMatchObject({ status: "UNAUTHORIZED" });

  expect(await daemon.stop("SIGTERM")).toBe(0);
  const said = JSON.stringify([daemon.output(), refused]);
  for (const secret of Object.values(secrets)) expect(said).not.toContain(secret);
});

test("those without a token may do what `anonymous` says", async () => {
  const daemon = await startDaemon(configured({ tokens, anonymous: "read", topics: false }), { env });
  expect(await call(daemon.http, `${admin}/Status`)).toBe(200);
  expect(await (await fetch(`${daemon.http}/healthz`)).json()).toHaveProperty("checks");
  expect(await call(daemon.http, `${watch}/Put`, undefined, JSON.stringify({ key: "YQ==" }))).toBe(403);
  expect(await call(daemon.http, `${admin}/Status`, "nobody-knows-this-one")).toBe(401);
});

test("everything is served over TLS, to clients with a certificate alone where that is asked for", async () => {
  const tls = { certFile: server.certFile, keyFile: server.keyFile };
  const ca = { TIDEMARK_CA_FILE: authority.caFile };
  const first = await startDaemon(configured({ tokens, tls }), { env });
  expect([first.http, first.watch]).toEqual([expect.stringMatching(/^https:/), expect.stringMatching(/^https:/)]);
  expect(first.topics).toMatch(/^grpcs:/);
  const writer = { ...ca, TIDEMARK_TOKEN: secrets.writer };
  expect((await first.cli(["put", "a", "over TLS"], { env: writer })).exitCode).toBe(0);
  const distrusting = await first.cli(["put", "a", "not trusted"], { env: { TIDEMARK_TOKEN: secrets.writer } });
  expect([distrusting.exitCode, distrusting.stderr]).toEqual([
    5,
    expect.stringMatching(/certificate[^]*TIDEMARK_CA_FILE/),
  ]);
  const plain = await first.cli(["status", "--connect", first.http.replace("https:", "http:")], { env: writer });
  expect([plain.exitCode, plain.stderr]).toEqual([3, expect.stringMatching(/https:\/\//)]);

  // Another daemon follows it over TLS with a token, and serves only who has a certificate.
  const source = {
    kind: "watch",
    url: first.watch ?? "",
    token: { env: "READER" },
    tls: { caFile: authority.caFile },
  } as const;
  const second = await startDaemon(
    configured({ store: true, sources: [source], tls: { ...tls, clientCaFile: authority.caFile } }),
    { env },
  );
  const mutual = { ...ca, TIDEMARK_CERT_FILE: client.certFile, TIDEMARK_KEY_FILE: client.keyFile };
  const followed = await second.cli(["get", "a", "--stream", "watch", "--fresh"], { env: mutual });
  expect(followed.stdout).toBe("over TLS\n");
  const cleartext = await startDaemon(["--data", testFolder(), "--no-topics"]);
  const encrypted = await cleartext.cli(["status", "--connect", cleartext.http.replace("http:", "https:")]);
  expect([encrypted.exitCode, encrypted.stderr]).toEqual([3, expect.stringMatching(/does not speak TLS/)]);
  const nobody = await second.cli(["status"], { env: ca });
  expect([nobody.exitCode, nobody.stderr]).toEqual([
    5,
    expect.stringMatching(/TIDEMARK_CERT_FILE and TIDEMARK_KEY_FILE/),
  ]);
  expect(nobody.stderr).not.toMatch(/ssl3|openssl/i);
  // The embedded store of such a daemon follows itself.
  expect((await second.cli(["put", "b", "2"], { env: mutual })).exitCode).toBe(0);
});

test("an address that others can reach needs tokens and TLS, or --insecure", async () => {
  const tls = { certFile: server.certFile, keyFile: server.keyFile };
  const refused = async (config: TidemarkConfig) => {
    const up = ["up", "--listen", "0.0.0.0:0", "--watch-listen", "127.0.0.1:0", "--no-topics"];
    const result = await tidemark([...up, ...configured(config)], { env });
    expect(result.exitCode).toBe(2);
    return result.stderr;
  };
  expect(await refused({})).toMatch(/nobody is asked who they are[^]*`tokens`[^]*--insecure/);
  expect(await refused({ tls })).toMatch(/nobody is asked who they are/);
  expect(await refused({ tokens })).toMatch(/in plain text[^]*`tls`[^]*--insecure/);
  const guarded = await startDaemon([...configured({ tokens, tls, topics: false }), "--listen", "0.0.0.0:0"], { env });
  const cli = { TIDEMARK_CA_FILE: authority.caFile, TIDEMARK_TOKEN: secrets.reader };
  expect((await guarded.cli(["status"], { env: cli })).exitCode).toBe(0);
});

test("requests, connections and calls are limited", async () => {
  const limits = { connections: 8, requestBytes: 1024, requestsPerSecond: 5 };
  const daemon = await startDaemon(configured({ tokens, limits, topics: false }), { env });
  const put = (size: number) => JSON.stringify({ key: "YQ==", value: Buffer.alloc(size).toString("base64") });
  expect(await call(daemon.http, `${watch}/Put`, secrets.admin, put(100))).toBe(200);
  expect(await call(daemon.http, `${watch}/Put`, secrets.admin, put(2000))).toBe(429);

  const statuses: number[] = [];
  while (!statuses.includes(429)) statuses.push(await call(daemon.http, `${admin}/Status`, secrets.reader));
  expect(new Set(statuses)).toEqual(new Set([200, 429]));
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(5);
  // What one asks too often holds up nobody else.
  expect(await call(daemon.http, `${admin}/Status`, secrets.writer)).toBe(200);

  const { hostname, port } = new URL(daemon.watch ?? "");
  let refused = 0;
  const sockets = Array.from({ length: 12 }, () => connect(Number(port), hostname).on("error", () => {}));
  for (const socket of sockets) socket.once("close", () => refused++);
  await until(() => refused >= 4);
  for (const socket of sockets) socket.destroy();
});

test("calls to topics are limited, too, and another limit holds at once", async () => {
  const args = configured({ tokens });
  const file = args[args.indexOf("--config") + 1] ?? "";
  const write = (requestsPerSecond: number) =>
    writeFileSync(file, JSON.stringify({ tokens, limits: { requestsPerSecond } }));
  write(10_000);
  const daemon = await startDaemon(args, { env });
  const client = createTopicClient(daemon.topics ?? "", { credentials: { token: secrets.admin } });
  onTestFinished(() => client.close());
  await client.createTopic("orders");
  for (let n = 0; n < 20; n++) await client.describeTopic("orders", { timeoutMs: 30_000 });
  write(1);
  expect((await daemon.cli(["reload"], { env: { TIDEMARK_TOKEN: secrets.admin } })).exitCode).toBe(0);
  const asked = Array.from({ length: 20 }, () => client.describeTopic("orders", { timeoutMs: 2_000 }));
  const results = await Promise.allSettled(asked);
  const refused = results.flatMap((each) => (each.status === "rejected" ? [String(each.reason)] : []));
  expect(refused.length).toBeGreaterThan(10);
  expect(refused[0]).toMatch(/more than 1 calls a second/);
});

test("a request without a right is refused before its body is read", async () => {
  const tls = { certFile: server.certFile, keyFile: server.keyFile };
  const daemon = await startDaemon(configured({ tokens, tls, topics: false }), { env });
  // It promises a body and never sends it.
  const headers = { "content-type": "application/json", "content-length": "1000000" };
  const request = httpsRequest(`${daemon.http}/${admin}/Status`, { method: "POST", headers, ca: authority.ca });
  request.on("error", () => {});
  request.flushHeaders();
  const [response] = (await once(request, "response")) as [{ readonly statusCode: number }];
  expect(response.statusCode).toBe(401);
  request.destroy();
});

test("tokens that are too short, double or without a right are refused without being shown", async () => {
  const wrong = async (config: object) => {
    const result = await tidemark(["up", ...configured(config as TidemarkConfig)], {
      env: { ...env, TWICE: secrets.reader },
    });
    expect(result.exitCode).toBe(2);
    for (const secret of [...Object.values(secrets), "short-one"]) expect(result.stderr).not.toContain(secret);
    return result.stderr;
  };
  expect(await wrong({ tokens: [{ name: "a", token: "short-one", rights: "read" }] })).toMatch(
    /`tokens\[0\]\.token` must be at least 16[^]*openssl rand/,
  );
  const [reader] = tokens ?? [];
  expect(await wrong({ tokens: [reader, { name: "b", token: { env: "TWICE" }, rights: "admin" }] })).toMatch(
    /`tokens\[1\]\.token` is the same as `tokens\[0\]\.token`/,
  );
  expect(await wrong({ tokens: [{ ...reader, rights: "everything" }] })).toMatch(
    /`tokens\[0\]\.rights` must be "read", "write" or "admin", got "everything"/,
  );
  expect(await wrong({ tokens: [{ ...reader, token: { env: "NOT_SET" } }] })).toMatch(/NOT_SET/);
});
