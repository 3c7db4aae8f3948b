// The history in a real PostgreSQL, shared by two daemons.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createStoreClient, openStore, serveWatch } from "@tidemark/watch-server";
import { serviceTest } from "@tidemark/tooling/services";
import { Client } from "pg";
import { expect, test } from "vitest";
import { postgresUrl } from "./sql-servers.ts";
import { spawnCli, startDaemon, testFolder, tidemark, until } from "./support.ts";

const password = "a-very-secret-word";

/** A configuration whose history is in the database, following a store that both daemons reach. */
async function configured(schema: string, source: string, leaseMs: number) {
  const folder = testFolder();
  const file = join(folder, "tidemark.config.json");
  const history = { database: { env: "HISTORY_URL" }, schema, leaseMs };
  writeFileSync(file, JSON.stringify({ history, topics: false, sources: [{ kind: "watch", url: source }] }));
  const env = { HISTORY_URL: (await postgresUrl(password)).replace("@/", "@localhost/") };
  const args = (name: string) => ["--config", file, "--data", join(folder, name)];
  return { args, env };
}

async function storeServer() {
  const store = await openStore({ file: join(testFolder(), "store.db") });
  const server = await serveWatch({ store });
  const client = createStoreClient({ address: server.address });
  return {
    address: server.address,
    put: (key: string, value: string) => client.put(Buffer.from(key), Buffer.from(value)),
    async [Symbol.asyncDispose]() {
      await client.close();
      await server.close();
      await store.close();
    },
  };
}

serviceTest("postgres")(
  "a second daemon on the same database stands by, and goes on when the first one is killed",
  async () => {
    await using store = await storeServer();
    const { args, env } = await configured("pair", store.address, 6_000);
    const first = await startDaemon(args("one"), { env });
    await store.put("colour", "blue");
    expect((await first.cli(["get", "colour", "--fresh"])).stdout).toBe("blue\n");

    const child = spawnCli(["up", "--json", "--listen", "127.0.0.1:0", ...args("two")], env);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    await until(() => stderr.includes("standing by"));
    expect(stderr).toMatch(/is written by process \d+ on /);
    // The lease is renewed: the first one goes on for longer than it lasts.
    await store.put("colour", "green");
    expect((await first.cli(["get", "colour", "--fresh"])).stdout).toBe("green\n");
    expect(stdout).toBe("");

    await first.stop("SIGKILL");
    await store.put("colour", "red");
    await until(() => stdout.includes("\n"));
    const env2 = { TIDEMARK_URL: (JSON.parse(stdout) as { readonly http: string }).http };
    const log = await tidemark(["log", "colour", "--fresh", "--json"], { env: env2 });
    const values = log.stdout.split("\n").flatMap((line) => (line === "" ? [] : [(JSON.parse(line) as Version).value]));
    expect(values).toMatchObject([{ text: "red" }, { text: "green" }, { text: "blue" }]);
    expect((await tidemark(["fsck"], { env: env2 })).exitCode).toBe(0);
    for (const said of [stdout, stderr, first.output().stdout, first.output().stderr])
      expect(said).not.toContain(password);

    // The rows are where SQL finds them.
    const sql = new Client({ connectionString: env.HISTORY_URL });
    await sql.connect();
    const { rows } = await sql.query("SELECT value_text FROM pair.current WHERE key_text = 'colour'");
    await sql.end();
    expect(rows).toEqual([{ value_text: "red" }]);
  },
);

interface Version {
  readonly value: { readonly text: string };
}

serviceTest("postgres")("a daemon that stands by stops at once, and with 0", async () => {
  await using store = await storeServer();
  const { args, env } = await configured("stopped", store.address, 60_000);
  const first = await startDaemon(args("one"), { env });
  const child = spawnCli(["up", "--listen", "127.0.0.1:0", ...args("two")], env);
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  await until(() => stderr.includes("standing by"));
  child.kill("SIGTERM");
  await until(() => child.exitCode !== null);
  expect(child.exitCode).toBe(0);
  expect(await first.stop("SIGTERM")).toBe(0);
});

test("a database that cannot be reached is told without its password", async () => {
  const folder = testFolder();
  const file = join(folder, "tidemark.config.json");
  writeFileSync(file, JSON.stringify({ history: { database: { env: "HISTORY_URL" } }, topics: false }));
  const up = ["up", "--listen", "127.0.0.1:0", "--config", file, "--data", join(folder, "data")];
  const nobody = { HISTORY_URL: `postgres://me:${password}@127.0.0.1:1/none` };
  const refused = await tidemark(up, { env: nobody });
  expect(refused.stderr).toMatch(/error: The history in postgres:\/\/127\.0\.0\.1:1\/none, schema tidemark cannot be/);
  expect([refused.exitCode, refused.stderr.includes(password)]).toEqual([4, false]);
  const wrong = await tidemark(up, { env: { HISTORY_URL: `mysql://me:${password}@host/none` } });
  expect(wrong.stderr).toMatch(/`history\.database` is not a URL of PostgreSQL/);
  expect([wrong.exitCode, wrong.stderr.includes(password)]).toEqual([2, false]);
});
