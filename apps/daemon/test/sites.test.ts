import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startEtcd, type TestEtcd } from "@tidemark/source-etcd/testing";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, test } from "vitest";
import { checkConfig } from "../src/config/config-schema.ts";
import { resolveSettings } from "../src/config/settings.ts";
import { startDaemon, type TestDaemon, testFolder, until } from "./support.ts";

const etcdTest = serviceTest("etcd");
const prefix = "/config/";

function configFile(config: object): string {
  const file = join(testFolder(), "tidemark.config.json");
  writeFileSync(file, JSON.stringify(config));
  return file;
}

async function contents(etcd: TestEtcd): Promise<Record<string, string>> {
  const { kvs } = await etcd.client.list("");
  return Object.fromEntries(kvs.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]));
}

async function valuesOf(daemon: TestDaemon, stream: string, key: string): Promise<unknown[]> {
  const items = await daemon.json(["log", key, "--stream", stream]);
  return items.map((each) => each.value?.text);
}

etcdTest("two daemons keep two etcds alike over the topic of a third", async () => {
  await using paris = await startEtcd();
  await using oslo = await startEtcd();
  await paris.client.put(`${prefix}before`, "1");
  const hub = await startDaemon(["--data", testFolder()]);
  const configs = [paris, oslo].map((etcd, index) =>
    configFile({
      dataDir: testFolder(),
      topics: false,
      sources: [{ kind: "etcd", endpoints: [etcd.endpoint], prefix }],
      sites: [{ name: `site-${index}`, group: "shared", topics: hub.topics, source: "etcd" }],
    }),
  );
  const [a, b] = await Promise.all(configs.map((config) => startDaemon(["--config", config])));
  if (a === undefined || b === undefined) throw new Error("two daemons");
  await until(async () => (await contents(oslo))[`${prefix}before`] === "1");
  await oslo.client.put(`${prefix}x`, "oslo");
  await paris.client.put("elsewhere", "stays");
  await until(async () => (await contents(paris))[`${prefix}x`] === "oslo");
  await paris.client.txn([{ key: `${prefix}x` }, { key: `${prefix}y`, value: "paris" }]);
  await until(async () => (await contents(oslo))[`${prefix}y`] === "paris");
  expect(await contents(oslo)).toEqual({ [`${prefix}before`]: "1", [`${prefix}y`]: "paris" });
  expect(await valuesOf(b, "shared", `${prefix}x`)).toEqual([undefined, "oslo"]);
  // Nothing is measured of what nobody follows, and so nothing is said of it.
  expect((await b.cli(["status"])).stdout).toMatch(/^shared .*\n(?: .*\n)*? +commits +last [^,\n]+$/m);

  // Apart for a while, and restarted.
  expect(await b.stop("SIGKILL")).toBeNull();
  await oslo.client.put(`${prefix}y`, "while nobody looks");
  await paris.client.put(`${prefix}z`, "meanwhile");
  await startDaemon(["--config", configs[1] as string]);
  await until(async () => {
    const [here, there] = [await contents(paris), await contents(oslo)];
    return here[`${prefix}y`] === "while nobody looks" && there[`${prefix}z`] === "meanwhile";
  });
  expect(await valuesOf(a, "shared", `${prefix}y`)).toEqual(["while nobody looks", "paris"]);

  // One that is new and finds nothing in its topic gets everything from a peer.
  const far = await startDaemon([
    "--config",
    configFile({
      dataDir: testFolder(),
      topics: false,
      sites: [{ name: "far", group: "shared", topics: hub.topics, topic: "empty", source: "store", peers: [a.http] }],
    }),
  ]);
  await until(async () => (await far.cli(["get", `${prefix}z`, "--stream", "store"])).stdout === "meanwhile\n");
  expect(await valuesOf(far, "shared", `${prefix}y`)).toEqual(["while nobody looks", "paris"]);
  expect(await a.stop("SIGTERM")).toBe(0);
});

etcdTest("a mirror keeps one etcd like another, one way, and goes on where it was", async () => {
  await using from = await startEtcd();
  await using to = await startEtcd();
  const config = configFile({
    dataDir: testFolder(),
    topics: false,
    sources: [{ kind: "etcd", endpoints: [from.endpoint], prefix }],
    mirrors: [{ name: "copy", from: "etcd", to: { endpoints: [to.endpoint] } }],
  });
  await from.client.put(`${prefix}a`, "1");
  const first = await startDaemon(["--config", config]);
  await until(async () => (await contents(to))[`${prefix}a`] === "1");
  await first.stop("SIGKILL");
  // Nobody looks, and the intermediate value is not skipped.
  await from.client.put(`${prefix}b`, "1");
  await from.client.put(`${prefix}b`, "2");
  await from.client.delete(`${prefix}a`);
  const second = await startDaemon(["--config", config]);
  await until(async () => JSON.stringify(await contents(to)) === JSON.stringify({ [`${prefix}b`]: "2" }));
  expect(await valuesOf(second, "copy", `${prefix}b`)).toEqual(["2", "1"]);
  // One way: what is edited there stays there, and is in the history.
  await to.client.put(`${prefix}c`, "over there");
  await until(async () => (await valuesOf(second, "copy", `${prefix}c`))[0] === "over there");
  expect(await contents(from)).toEqual({ [`${prefix}b`]: "2" });
});

etcdTest("a mirror of two ways", async () => {
  await using one = await startEtcd();
  await using other = await startEtcd();
  await startDaemon([
    "--config",
    configFile({
      dataDir: testFolder(),
      topics: false,
      sources: [{ kind: "etcd", endpoints: [one.endpoint] }],
      mirrors: [{ name: "both", from: "etcd", to: { endpoints: [other.endpoint] }, twoWay: true }],
    }),
  ]);
  await one.client.put("a", "1");
  await other.client.put("b", "2");
  await until(async () => {
    const [here, there] = [await contents(one), await contents(other)];
    return JSON.stringify(here) === JSON.stringify(there) && here["a"] === "1" && here["b"] === "2";
  });
});

test("what is wrong with sites and mirrors is said by its path, and no address is repeated", () => {
  const site = { name: "oslo", group: "config", topics: "grpc://127.0.0.1:2136/local" };
  const problemsOf = (config: object) => {
    const checked = checkConfig(config);
    return "problems" in checked ? checked.problems.map(({ problem }) => problem).join("\n") : "";
  };
  expect(problemsOf({ sites: [{ ...site, topics: "grpc://user:secret@host/local" }] })).toMatch(
    /`sites\[0\]\.topics` must be/,
  );
  expect(problemsOf({ sites: [{ ...site, topics: "grpc://user:secret@host/local" }] })).not.toContain("secret");
  expect(problemsOf({ sites: [{ ...site, policy: "first" }] })).toMatch(
    /`sites\[0\]\.policy` must be "last-writer", "keep" or a/,
  );
  expect(problemsOf({ sites: [{ ...site, sink: true }] })).toMatch(/`sites\[0\]\.sink` is not a setting/);
  expect(problemsOf({ mirrors: [{ name: "m", from: "etcd", to: { endpoint: "x" } }] })).toMatch(/`mirrors\[0\]\.to\./);

  const resolve = (config: object) => {
    const checked = checkConfig(config);
    if ("problems" in checked) throw new Error(JSON.stringify(checked.problems));
    return resolveSettings(checked.config, {}, {});
  };
  const etcd = { kind: "etcd", endpoints: ["http://127.0.0.1:2379"], prefix };
  expect(() => resolve({ sites: [{ ...site, source: "etcd" }] })).toThrow(/`sites\[0\]\.source` must name an etcd/);
  expect(() => resolve({ sources: [etcd], sites: [{ ...site, group: "etcd" }] })).toThrow(
    /Two streams are called "etcd"/,
  );
  expect(() => resolve({ sites: [site], history: { synchronous: "normal" } })).toThrow(
    /`history.synchronous` to be "full"/,
  );
  const history = { database: "postgres://u:p@h/d", schema: "s" };
  const to = { endpoints: ["http://127.0.0.1:2380"] };
  const mirrors = (...names: string[]) => ({
    history,
    sources: [etcd],
    mirrors: names.map((name) => ({ name, from: "etcd", to })),
  });
  expect(() => resolve(mirrors("a-b", "a.b"))).toThrow(/two mirrors would both be in schema s_mirror_a_b/);
  expect(() => resolve(mirrors("m".repeat(60)))).toThrow(/would be in schema s_mirror_m+, which is longer than 63/);
  expect(resolve(mirrors("a-b"))).toMatchObject({
    synchronous: "full",
    database: { schema: "s" },
    mirrors: [{ database: { schema: "s_mirror_a_b", shown: "postgres://h/d, schema s_mirror_a_b" } }],
  });
  expect(resolve({ sites: [site], history })).toMatchObject({ synchronous: "full", database: { schema: "s" } });
  const settings = resolve({
    sources: [etcd],
    sites: [{ ...site, source: "etcd" }],
    mirrors: [{ name: "copy", from: "etcd", to: { endpoints: ["http://127.0.0.1:2380"] } }],
  });
  expect(settings.synchronous).toBe("full");
  expect(settings.sites[0]).toMatchObject({ topic: "config", write: true, source: { prefix } });
  expect(settings.mirrors[0]).toMatchObject({ to: { prefix, endpoints: ["http://127.0.0.1:2380"] }, twoWay: false });
  expect(resolve({ sites: [{ ...site, source: "store" }] }).sites[0]?.source).toBe("store");
});
