import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startDaemon, testFolder, tidemark, until } from "./support.ts";

const secret = "c4talogue-t0ken";

/** A static catalogue that wants a token. */
async function testCatalog(entries: { id: string; v?: number }[]): Promise<string> {
  const server = createServer((request, response) => {
    if (request.headers.authorization !== `Bearer ${secret}`) response.writeHead(401).end();
    else if (request.url === "/apps.json") response.end(JSON.stringify(entries));
    else response.end(JSON.stringify({ of: request.url }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("follows a catalogue with one flag, and a token from the environment", async () => {
  const url = await testCatalog([{ id: "mail" }, { id: "wiki" }]);
  const daemon = await startDaemon(["--data", testFolder(), "--catalog", `${url}/apps.json`], {
    env: { TIDEMARK_CATALOG_TOKEN: secret },
  });
  await until(async () => (await fetch(`${daemon.http}/readyz`)).status === 200);
  expect((await daemon.cli(["get", "/default/apps/mail"])).stdout).toBe('{"entry":{"id":"mail"}}\n');
  expect((await daemon.json(["ls"])).map((each) => each.key.text)).toEqual([
    "/default/@digest",
    "/default/apps/mail",
    "/default/apps/wiki",
  ]);
  expect(await daemon.stop("SIGTERM")).toBe(0);
  expect(JSON.stringify(daemon.output())).not.toContain(secret);
});

test("configured catalogues are hydrated, followed, and go on where they were after a restart", async () => {
  const entries: { id: string; v?: number }[] = [{ id: "mail" }, { id: "wiki" }];
  const url = await testCatalog(entries);
  const folder = testFolder();
  const catalogs = [
    { name: "apps", url: `${url}/apps.json`, detailUrl: `${url}/{id}`, headers: { authorization: `Bearer ${secret}` } },
    { name: "closed", url: `${url}/apps.json`, headers: { authorization: "Bearer wr0ng-t0ken" } },
  ];
  // Without an ETag a list is fetched when refetchMs has passed.
  const sources = [{ kind: "catalog", name: "shop", catalogs, everyMs: 50, refetchMs: 1 }];
  writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify({ dataDir: folder, sources }));
  const first = await startDaemon(["--log-level", "trace"], { cwd: folder });
  const get = async (daemon: typeof first, key: string) => (await daemon.cli(["get", key])).stdout;
  await until(
    async () => (await get(first, "/default/apps/mail")) === '{"entry":{"id":"mail"},"detail":{"of":"/mail"}}\n',
  );
  entries[0] = { id: "mail", v: 2 };
  await until(async () => (await get(first, "/default/apps/mail")).includes('"v":2'));
  const [status] = await first.json(["status"]);
  expect(status?.streams).toMatchObject([{ source: { "lists failing": "1", "entries failing": "0" } }]);
  await first.stop("SIGTERM");
  entries.pop();
  const second = await startDaemon([], { cwd: folder });
  await until(async () => (await second.json(["ls", "/default/apps/"])).length === 1);
  expect(await second.json(["gaps"])).toEqual([]);
  expect((await second.json(["log", "/default/apps/mail"])).length).toBe(2);
  await second.stop("SIGTERM");
  const shown = JSON.stringify([status, first.output(), second.output()]);
  expect(shown).not.toContain(secret);
  expect(shown).not.toContain("wr0ng-t0ken");
});

test.for([
  [["--catalog", "apps.json"], /--catalog must be a URL such as https/],
  [["--catalog", "http://u:hunter22@h/apps"], /put it into headers.authorization instead/],
] as const)("refuses up %j", async ([args, message]) => {
  const { stderr, exitCode } = await tidemark(["up", "--data", testFolder(), "--listen", "127.0.0.1:0", ...args]);
  expect(stderr).toMatch(message);
  expect(stderr).not.toContain("hunter22");
  expect(exitCode).toBe(2);
});
