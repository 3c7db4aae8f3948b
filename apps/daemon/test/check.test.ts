// `tidemark check`: every connection of a configuration, tried against real servers.
import { createServer } from "node:net";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createServer as createHttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { startEtcd } from "@tidemark/source-etcd/testing";
import { serviceTest } from "@tidemark/tooling/services";
import Sqlite from "better-sqlite3";
import { Client } from "pg";
import { expect, onTestFinished, test } from "vitest";
import type { TidemarkConfig } from "../src/index.ts";
import { postgresUrl } from "./sql-servers.ts";
import { definitions, type Json, startDaemon, testFolder, tidemark } from "./support.ts";

const secrets = { token: "token-7a6b5c4d3e2f1", password: "pass-word-of-nobody" } as const;
const ports = { listen: "127.0.0.1:0", watchListen: "127.0.0.1:0", topicsListen: "127.0.0.1:0" } as const;

function written(config: TidemarkConfig) {
  const folder = testFolder();
  const file = join(folder, "tidemark.config.json");
  writeFileSync(file, JSON.stringify({ ...ports, dataDir: "./data", ...config }));
  return { folder, args: ["--config", file, "--timeout", "5"] };
}

async function check(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const result = await tidemark(["check", ...args, "--json"], { env });
  const human = await tidemark(["check", ...args], { env });
  for (const secret of Object.values(secrets)) {
    expect(result.stdout + result.stderr + human.stdout + human.stderr).not.toContain(secret);
  }
  expect(human.exitCode).toBe(result.exitCode);
  const lines = result.stdout.split("\n").filter((line) => line !== "");
  const found = new Map(
    lines.map((line) => JSON.parse(line) as Json).map((finding: Json) => [finding.what as string, finding]),
  );
  return { exitCode: result.exitCode, found, human: human.stdout };
}

serviceTest("etcd")("what works is said to work, and nothing is made", async () => {
  await using etcd = await startEtcd();
  const catalog = createHttpServer((_, response) => response.end("[]")).listen(0, "127.0.0.1");
  await once(catalog, "listening");
  onTestFinished(() => void catalog.close());
  const url = `http://127.0.0.1:${(catalog.address() as AddressInfo).port}/apps.json`;
  const { folder, args } = written({
    tokens: [{ name: "ops", token: { env: "TOKEN" }, rights: "admin" }],
    sources: [
      { kind: "etcd", endpoints: [etcd.endpoint] },
      { kind: "catalog", catalogs: [{ name: "apps", url }] },
    ],
  });
  const { exitCode, found, human } = await check(args, { TOKEN: secrets.token });
  expect(Object.fromEntries([...found].map(([what, { state }]) => [what, state]))).toMatchObject({
    configuration: "ok",
    "data folder": "ok",
    listen: "ok",
    topicsListen: "ok",
    "source etcd": "ok",
    "source catalog": "ok",
  });
  expect(found.get("source etcd")).toMatchObject({
    detail: expect.stringMatching(/^etcd .*127\.0\.0\.1.* answers$/),
    fix: null,
  });
  expect(human).toMatch(/^WHAT +STATE +DETAIL\nconfiguration +ok /);
  expect([exitCode, existsSync(join(folder, "data"))]).toEqual([0, false]);
});

serviceTest("postgres")("a history on PostgreSQL is looked at", async () => {
  const url = (await postgresUrl(secrets.password)).replace("@/", "@localhost/");
  const { args } = written({ history: { database: { env: "URL_OF_HISTORY" } } });
  const { exitCode, found } = await check(args, { URL_OF_HISTORY: url });
  expect(found.get("history")).toMatchObject({
    state: "ok",
    detail: expect.stringMatching(/PostgreSQL \d+.*schema will be made/),
  });
  expect(exitCode).toBe(0);
});

serviceTest("postgres")(
  "the histories of sites and mirrors on PostgreSQL are looked at, and who writes them",
  async () => {
    const URL_OF_HISTORY = (await postgresUrl(secrets.password)).replace("@/", "@localhost/");
    const config = (user = "") => {
      const url = user === "" ? URL_OF_HISTORY : URL_OF_HISTORY.replace("postgres://postgres", `postgres://${user}`);
      const { folder, args } = written({
        topics: false,
        history: { database: { env: "URL_OF_HISTORY" }, schema: "looked_at" },
        sources: [{ kind: "etcd", endpoints: ["http://127.0.0.1:1"] }],
        sites: [{ name: "oslo", group: "shared", topics: "grpc://127.0.0.1:1/local" }],
        mirrors: [{ name: "copy", from: "etcd", to: { endpoints: ["http://127.0.0.1:1"] } }],
      });
      return { folder, args, env: { URL_OF_HISTORY: url } };
    };
    const before = config();
    const nothing = await check(before.args, before.env);
    for (const [what, schema] of [
      ["history", "looked_at"],
      ["history of copy", "looked_at_mirror_copy"],
    ] as const) {
      expect(nothing.found.get(what)).toMatchObject({
        state: "ok",
        detail: expect.stringMatching(new RegExp(`, schema ${schema}: PostgreSQL [\\d.]+.*, the schema will be made$`)),
      });
    }

    const running = config();
    const daemon = await startDaemon(running.args.slice(0, 2), { env: running.env });
    const after = config();
    const taken = await check(after.args, after.env);
    for (const what of ["history", "history of copy"]) {
      expect(taken.found.get(what)).toMatchObject({
        state: "ok",
        detail: expect.stringContaining(`, written by process ${daemon.child.pid} on `),
      });
    }

    const client = new Client({ connectionString: URL_OF_HISTORY });
    await client.connect();
    await client.query("CREATE ROLE poor LOGIN");
    await client.end();
    const poor = config("poor");
    expect((await check(poor.args, poor.env)).found.get("history")).toMatchObject({
      state: "failed",
      detail: expect.stringContaining("this user may not use the schema"),
      fix: expect.stringContaining("GRANT USAGE, CREATE ON SCHEMA looked_at"),
    });
  },
);

test("the databases of migrations are read, with their definitions, and nothing is written", async () => {
  const { folder, args } = written({
    migrations: [
      { url: "app.db", folder: definitions("sqlite") },
      { url: "plain.db" },
      { url: "gone.db" },
      { url: { env: "SERVER" }, folder: definitions("postgresql") },
      { url: "empty.db", folder: "./nothing" },
    ],
  });
  for (const name of ["app", "plain", "empty"]) {
    const db = new Sqlite(join(folder, `${name}.db`));
    db.pragma("journal_mode = wal");
    if (name !== "empty") {
      db.exec("create table people (id integer primary key, email text not null, domain text, length integer)");
    }
    db.close();
  }
  const server = `postgres://me:${secrets.password}@127.0.0.1:1/none`;
  const { exitCode, found } = await check(args, { SERVER: server });
  expect(exitCode).toBe(1);
  expect(found.get("migrations 0")).toMatchObject({
    state: "ok",
    detail: expect.stringMatching(/app\.db answers, with 0 migrations, 2 definitions$/),
  });
  expect(found.get("migrations 1")).toMatchObject({ state: "ok", detail: expect.stringMatching(/plain\.db answers/) });
  expect(found.get("migrations 2")).toMatchObject({
    state: "failed",
    detail: expect.stringContaining("there is no such file"),
  });
  expect(found.get("migrations 3")).toMatchObject({
    state: "failed",
    detail: expect.stringContaining("postgres://127.0.0.1:1/none does not let us in"),
  });
  // What helps is in the configuration here, not on the command line.
  for (const each of ["migrations 2", "migrations 3"]) {
    expect(found.get(each).fix).toMatch(/`url`/);
    expect(found.get(each).fix).not.toMatch(/--database/);
  }
  expect(found.get("migrations 4")).toMatchObject({ state: "failed", detail: expect.stringContaining("nothing") });
  const db = new Sqlite(join(folder, "app.db"), { readonly: true });
  expect(db.prepare("select name from sqlite_schema").pluck().all()).toEqual(["people"]);
  db.close();
});

test("peers of a site are asked as the site would ask them", async () => {
  const hub = await startDaemon(["--data", testFolder()]);
  const group = { group: "shared", topics: hub.topics ?? "" };
  const peer = written({
    tokens: [{ name: "sites", token: { env: "TOKEN" }, rights: "read" }],
    sites: [{ ...group, name: "paris" }],
  });
  const { http } = await startDaemon(peer.args.slice(0, 2), { env: { TOKEN: secrets.token } });
  const site = (more: object) =>
    written({ topics: false, sites: [{ ...group, name: "oslo", peers: [http], ...more }] });
  const right = await check(site({ peersToken: { env: "TOKEN" } }).args, { TOKEN: secrets.token });
  expect(right.found.get("peer of oslo")).toMatchObject({ state: "ok", detail: `${http} has the group shared` });
  const none = await check(site({}).args);
  expect(none.found.get("peer of oslo")).toMatchObject({
    state: "failed",
    detail: expect.stringContaining("needs a token"),
    fix: expect.stringContaining("`peersToken`"),
  });
  const other = await check(site({ group: "other", peersToken: { env: "TOKEN" } }).args, { TOKEN: secrets.token });
  expect(other.found.get("peer of oslo")).toMatchObject({
    state: "failed",
    detail: expect.stringContaining('no group "other"'),
  });
});

test("what does not work is named, with what to do about it", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  onTestFinished(() => void taken.close());
  const { port } = taken.address() as AddressInfo;
  const nobody = "http://127.0.0.1:1";
  const { args } = written({
    listen: `127.0.0.1:${port}`,
    history: { database: { env: "URL_OF_HISTORY" } },
    sources: [
      { kind: "etcd", endpoints: [nobody], username: "me", password: { env: "PASSWORD" } },
      { kind: "watch", url: nobody, token: { env: "TOKEN" } },
      { kind: "gnmi", address: nobody, paths: ["/interfaces"] },
      { kind: "catalog", catalogs: [{ name: "apps", url: `${nobody}/apps.json` }] },
    ],
  });
  const env = {
    URL_OF_HISTORY: `postgres://me:${secrets.password}@127.0.0.1:1/none`,
    PASSWORD: secrets.password,
    TOKEN: secrets.token,
  };
  const { exitCode, found, human } = await check(args, env);
  expect(exitCode).toBe(1);
  for (const what of ["listen", "history", "source etcd", "source watch", "source gnmi", "source catalog"]) {
    expect(found.get(what), what).toMatchObject({ state: "failed", fix: expect.stringMatching(/\w/) });
  }
  expect(found.get("listen").detail).toContain("already in use");
  expect(found.get("history").detail).toMatch(/^postgres:\/\/127\.0\.0\.1:1\/none, schema tidemark does not answer/);
  expect(found.get("source catalog").detail).toMatch(
    /^catalog http:\/\/127\.0\.0\.1:1\/apps\.json: apps: .*ECONNREFUSED/,
  );
  expect(human).toMatch(/source etcd +FAILED[^]*\nWhat to do:\n/);
});

test("one list of several that cannot be had is named, although the others are followed", async () => {
  const server = createHttpServer((request, response) => {
    if (request.url === "/closed.json") response.writeHead(401).end();
    else response.end("[]");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const catalogs = ["open", "closed"].map((name) => ({ name, url: `${url}/${name}.json` }));
  const { args } = written({ topics: false, sources: [{ kind: "catalog", catalogs }] });
  const { exitCode, found } = await check(args);
  expect(found.get("source catalog")).toMatchObject({
    state: "failed",
    detail: expect.stringMatching(/: closed: .*401/),
  });
  expect(exitCode).toBe(1);
});

test("a wrong configuration is told with the path of the value and what was expected", async () => {
  const { args } = written({
    limits: { connections: 0 },
    tokens: [{ name: "a", token: { env: "TOKEN" }, rights: "all" }],
  } as never);
  const { exitCode, found } = await check(args, { TOKEN: secrets.token });
  expect(exitCode).toBe(2);
  const { detail, fix } = found.get("configuration");
  expect(`${detail} ${fix}`).toContain('`tokens[0].rights` must be "read", "write" or "admin", got "all".');
  expect(`${detail} ${fix}`).toContain("`limits.connections` must be at least 1, got number 0.");
});

test("beside a daemon that runs, its own ports are no trouble", async () => {
  const { folder, args } = written({});
  const daemon = await startDaemon(args.slice(0, 2));
  const listen = new URL(daemon.http).host;
  writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify({ ...ports, dataDir: "./data", listen }));
  const { exitCode, found } = await check(args);
  expect(found.get("data folder").detail).toContain("a daemon is running there");
  expect(found.get("listen")).toMatchObject({ state: "ok", detail: expect.stringContaining("that is running") });
  expect(exitCode).toBe(0);
});
