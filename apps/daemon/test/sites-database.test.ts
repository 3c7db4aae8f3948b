// Sites and mirrors whose histories are in a real PostgreSQL.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startEtcd, type TestEtcd } from "@tidemark/source-etcd/testing";
import { hasService, serviceTest } from "@tidemark/tooling/services";
import { Client } from "pg";
import { expect, onTestFinished } from "vitest";
import { postgresUrl } from "./sql-servers.ts";
import { type Json, spawnCli, startDaemon, type TestDaemon, testFolder, tidemark, until } from "./support.ts";

const test = serviceTest("postgres");
/** Needs both, and is told to be skipped for the one that is missing. */
const etcdTest = hasService("postgres") ? serviceTest("etcd") : test;
const prefix = "/config/";
// Renewed every third of it: a machine that stands still for three seconds takes it from nobody.
const leaseMs = 5_000;

async function database() {
  const url = (await postgresUrl("any")).replace("@/", "@localhost/");
  const client = new Client({ connectionString: url });
  await client.connect();
  onTestFinished(() => client.end());
  return {
    url,
    run: (sql: string) => client.query(sql),
    /** Every version of a stream as text, without what two sites need not have in common. */
    versions: async (schema: string, stream: string): Promise<readonly string[]> => {
      const { rows } = await client.query<{ readonly version: string }>(
        `SELECT key_text || '=' || coalesce(value_text, 'deleted') AS version FROM ${schema}.history
          WHERE stream = '${stream}' ORDER BY 1`,
      );
      return rows.map(({ version }) => version);
    },
  };
}

function configFile(config: object): string {
  const file = join(testFolder(), "tidemark.config.json");
  writeFileSync(file, JSON.stringify({ topics: false, ...config }));
  return file;
}

async function sitesOf(http: string): Promise<readonly Json[]> {
  const answer = await fetch(`${http}/tidemark.admin.v1.AdminService/Sites`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  return ((await answer.json()) as Json).sites ?? [];
}

async function contents(etcd: TestEtcd): Promise<Record<string, string>> {
  const { kvs } = await etcd.client.list("");
  return Object.fromEntries(kvs.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]));
}

/** A daemon that is expected to stand by first; `ready` is where it is once it goes on. */
function standby(args: readonly string[]) {
  const child = spawnCli(["up", "--json", "--listen", "127.0.0.1:0", "--watch-listen", "127.0.0.1:0", ...args]);
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  return {
    child,
    stands: () => until(() => stderr.includes("standing by")),
    ready: async (): Promise<string> => {
      await until(() => stdout.includes("\n"));
      return (JSON.parse(stdout) as { readonly http: string }).http;
    },
  };
}

test("two daemons with stores and schemas of their own become equal, also after one of them was killed", async () => {
  const { url, versions } = await database();
  const hub = await startDaemon(["--data", testFolder()]);
  const configs = ["paris", "oslo"].map((name) =>
    configFile({
      dataDir: testFolder(),
      history: { database: url, schema: `own_${name}`, leaseMs },
      sites: [{ name, group: "shared", topics: hub.topics, source: "store" }],
    }),
  );
  const start = (index: number) => startDaemon(["--config", configs[index] as string]);
  const paris = await start(0);
  let oslo = await start(1);
  const written: string[] = [];
  const put = async (daemon: TestDaemon, key: string, value: string) => {
    expect((await daemon.cli(["put", key, value])).exitCode).toBe(0);
    written.push(`${key}=${value}`);
  };
  const shows = async (daemon: TestDaemon, key: string, value: string) =>
    (await daemon.cli(["get", key, "--stream", "store", "--fresh"])).stdout === `${value}\n`;
  await Promise.all([put(paris, "a", "paris 1"), put(oslo, "b", "oslo 1")]);
  await until(async () => (await shows(oslo, "a", "paris 1")) && (await shows(paris, "b", "oslo 1")));

  await put(oslo, "c", "oslo 2");
  await oslo.stop("SIGKILL");
  await put(paris, "b", "paris 2");
  await put(paris, "a", "paris 3");
  // It waits for the lease of the process that died.
  oslo = await start(1);
  await put(oslo, "d", "oslo 3");
  await until(
    async () =>
      (await shows(oslo, "b", "paris 2")) && (await shows(paris, "c", "oslo 2")) && (await shows(paris, "d", "oslo 3")),
  );
  await until(async () => (await versions("own_oslo", "shared")).length === written.length);
  for (const schema of ["own_paris", "own_oslo"]) expect(await versions(schema, "shared")).toEqual(written.toSorted());
  for (const daemon of [paris, oslo]) expect((await daemon.cli(["fsck"])).exitCode).toBe(0);
  expect(await oslo.stop("SIGTERM")).toBe(0);
});

etcdTest("a site goes on in the daemon that stood by, stands by itself when it wakes up, and comes back", async () => {
  await using here = await startEtcd();
  await using there = await startEtcd();
  const { url, versions } = await database();
  const hub = await startDaemon(["--data", testFolder()]);
  const site = { group: "shared", topics: hub.topics, source: "etcd" };
  const pair = configFile({
    history: { database: url, schema: "pair", leaseMs },
    sources: [{ kind: "etcd", endpoints: [here.endpoint], prefix }],
    sites: [{ ...site, name: "pair" }],
  });
  const far = await startDaemon([
    "--config",
    configFile({
      dataDir: testFolder(),
      history: { database: url, schema: "far", leaseMs },
      sources: [{ kind: "etcd", endpoints: [there.endpoint], prefix }],
      sites: [{ ...site, name: "far" }],
    }),
  ]);
  const both = async (key: string, value: string) => {
    const at = `${prefix}${key}`;
    return (await contents(here))[at] === value && (await contents(there))[at] === value;
  };
  const first = await startDaemon(["--config", pair, "--data", testFolder()]);
  await here.client.put(`${prefix}a`, "1");
  await until(() => both("a", "1"));
  const second = standby(["--config", pair, "--data", testFolder()]);
  await second.stands();

  // Longer than its lease lasts: the second one goes on as the same site.
  first.child.kill("SIGSTOP");
  await there.client.put(`${prefix}b`, "while it sleeps");
  await here.client.put(`${prefix}c`, "while it sleeps");
  await second.ready();
  await until(() => both("c", "while it sleeps"));
  // The topic gives what it has to the one that sleeps, whose connection is still open: it wakes up and may not take it.
  first.child.kill("SIGCONT");
  await until(async () => (await sitesOf(first.http))[0]?.state === "retrying");
  await until(() => both("b", "while it sleeps"));
  expect((await sitesOf(first.http))[0].problem).toMatch(/another process|is written by process \d+/);
  await there.client.put(`${prefix}a`, "2");
  await here.client.put(`${prefix}a`, "3");
  await until(async () => {
    const [one, other] = [await contents(here), await contents(there)];
    return JSON.stringify(one) === JSON.stringify(other);
  });

  second.child.kill("SIGKILL");
  await here.client.put(`${prefix}d`, "after both");
  await there.client.delete(`${prefix}b`);
  await until(async () => (await both("d", "after both")) && !(`${prefix}b` in (await contents(here))));
  await until(async () => (await sitesOf(first.http))[0]?.state === "running");
  expect(first.output().stderr).toMatch(/stands by until[^]*goes on from what its history has/);
  // Nothing is lost, nothing is there twice.
  const expected = ["a=1", "a=2", "a=3", "b=deleted", "b=while it sleeps", "c=while it sleeps", "d=after both"];
  for (const schema of ["pair", "far"]) {
    await until(async () => (await versions(schema, "shared")).length >= expected.length);
    expect(await versions(schema, "shared")).toEqual(expected.map((version) => prefix + version));
  }
  for (const daemon of [first, far]) expect((await daemon.cli(["fsck"])).exitCode).toBe(0);
});

etcdTest("both sides of a mirror go over to the daemon that stood by, which has a data folder of its own", async () => {
  await using from = await startEtcd();
  await using to = await startEtcd();
  const { url, run, versions } = await database();
  const config = configFile({
    history: { database: url, schema: "mirrored", leaseMs },
    sources: [{ kind: "etcd", endpoints: [from.endpoint], prefix }],
    mirrors: [{ name: "my-copy", from: "etcd", to: { endpoints: [to.endpoint] } }],
  });
  await from.client.put(`${prefix}a`, "1");
  const first = await startDaemon(["--config", config, "--data", testFolder()]);
  await until(async () => (await contents(to))[`${prefix}a`] === "1");
  const second = standby(["--config", config, "--data", testFolder()]);
  await second.stands();
  first.child.kill("SIGSTOP");
  // The intermediate value is not skipped, and the old one over there does not win.
  await from.client.put(`${prefix}a`, "2");
  const http = await second.ready();
  await until(async () => (await contents(to))[`${prefix}a`] === "2");
  first.child.kill("SIGCONT");
  await until(async () => (await sitesOf(first.http)).every(({ state }) => state === "retrying"));
  await from.client.put(`${prefix}b`, "1");
  await until(async () => (await contents(to))[`${prefix}b`] === "1");
  expect((await sitesOf(http)).map(({ state }) => state)).toEqual(["running", "running"]);

  // The history itself is taken away from the second one, while it has the other side's still.
  await run("UPDATE mirrored.writer SET fence = fence + 1, session = '', expires_at = '-infinity'");
  await from.client.put(`${prefix}b`, "2");
  await until(async () => (await contents(to))[`${prefix}b`] === "2");
  await from.client.delete(`${prefix}a`);
  await until(async () => JSON.stringify(await contents(to)) === JSON.stringify({ [`${prefix}b`]: "2" }));
  // One way: what is edited over there stays there, and is in both histories.
  await to.client.put(`${prefix}c`, "over there");
  const expected = ["a=1", "a=2", "a=deleted", "b=1", "b=2", "c=over there"].map((version) => prefix + version);
  for (const schema of ["mirrored", "mirrored_mirror_my_copy"]) {
    await until(async () => (await versions(schema, "my-copy")).length >= expected.length);
    expect(await versions(schema, "my-copy")).toEqual(expected);
  }
  for (const env of [first.http, http]) {
    expect((await tidemark(["fsck"], { env: { TIDEMARK_URL: env } })).exitCode).toBe(0);
  }
});
