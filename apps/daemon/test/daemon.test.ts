import { once } from "node:events";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { expect, test } from "vitest";
import { version } from "../src/version.ts";
import { type Json, spawnCli, startDaemon, testFolder, until } from "./support.ts";

test("up --json prints one line, and everything works end to end", async () => {
  const folder = testFolder();
  const daemon = await startDaemon(["--data", join(folder, "data")]);
  expect(daemon.http).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(daemon.watch).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);

  const { cli, json } = daemon;
  expect(await cli(["put", "config/colour", "red"])).toMatchObject({
    exitCode: 0,
    stdout: "config/colour = red  revision 1\n",
    stderr: "",
  });
  await cli(["put", "config/colour", "blue"]);
  await cli(["put", "config/size", '{"w":1,"h":2}']);
  expect(await cli(["get", "config/colour"])).toMatchObject({ exitCode: 0, stdout: "blue\n", stderr: "" });
  expect(await cli(["get", "config/colour", "--at", "1"])).toMatchObject({ exitCode: 0, stdout: "red\n" });
  expect(await cli(["get", "config/colour", "--at", "now"])).toMatchObject({ stdout: "blue\n" });

  const [colour] = await json(["get", "config/colour"]);
  expect(colour).toMatchObject({
    stream: "store",
    key: { text: "config/colour", base64: Buffer.from("config/colour").toString("base64") },
    value: { text: "blue", base64: "Ymx1ZQ==" },
    deleted: false,
    position: "2",
    parents: ["1"],
    via: "stream",
  });
  expect((await cli(["get", "config/colour", "--at", `cursor:${colour.cursor}`])).stdout).toBe("blue\n");
  expect((await cli(["get", "config/colour", "--at", colour.committedAt])).stdout).toBe("blue\n");

  const listed = await cli(["ls", "config/"]);
  expect(listed.stdout).toMatch(
    /^KEY +POSITION +CHANGED +VALUE\nconfig\/colour +2 .*blue\nconfig\/size +3 .*\{"w":1,"h":2\}\n$/,
  );
  expect((await json(["ls"])).map((each: Json) => each.key.text)).toEqual(["config/colour", "config/size"]);
  expect((await json(["ls", "config/s"])).map((each: Json) => each.key.text)).toEqual(["config/size"]);
  expect((await json(["ls", "--at", "1"])).map((each: Json) => each.value.text)).toEqual(["red"]);
  expect(await json(["ls", "-n", "1"])).toHaveLength(1);

  const log = await cli(["log", "config/colour"]);
  expect(log.stdout).toMatch(/^POSITION +COMMITTED +VERSION +CHANGE +VALUE\n +2 .* put +blue\n +1 .* created +red\n$/);
  expect((await cli(["log", "config/colour", "--diff"])).stdout).toMatch(/- red\n +\+ blue\n/);

  expect((await cli(["diff", "config/colour"])).stdout).toMatch(
    /^~ config\/colour +changed, position 1 → 2\n[^]*- red\n[^]*\+ blue\n/,
  );
  await cli(["put", "config/size", '{"w":1,"h":3}']);
  expect((await cli(["diff", "config/size"])).stdout).toMatch(/- +"h": 2\n +\+ +"h": 3\n/);
  expect((await json(["diff", "config/", "--from", "1"])).map((each: Json) => [each.key.text, each.change])).toEqual([
    ["config/colour", "changed"],
    ["config/size", "added"],
  ]);

  expect(await cli(["del", "config/colour"])).toMatchObject({
    exitCode: 0,
    stdout: "config/colour deleted  revision 5\n",
  });
  expect(await cli(["del", "config/colour"])).toMatchObject({
    exitCode: 1,
    stderr: "error: There is no key config/colour, so nothing was deleted.\n",
  });
  const gone = await cli(["get", "config/colour"]);
  expect(gone).toMatchObject({ exitCode: 1, stdout: "" });
  expect(gone.stderr).toMatch(/no key config\/colour|was deleted/);
  expect((await cli(["get", "config/colour", "--at", "2"])).stdout).toBe("blue\n");
  expect((await json(["log", "config/colour"])).map((each: Json) => each.deleted)).toEqual([true, false, false]);
  expect((await json(["ls", "--deleted"])).map((each: Json) => each.deleted)).toEqual([true, false]);

  const [status] = await json(["status"]);
  expect(status).toMatchObject({
    version,
    position: "5",
    dataDir: join(folder, "data"),
    watch: daemon.watch,
    streams: [
      {
        name: "store",
        state: "live",
        problem: null,
        keys: "1",
        versions: "5",
        gaps: "0",
        quarantined: "0",
        drops: "0",
      },
    ],
  });
  expect((await cli(["status"])).stdout).toMatch(
    /^daemon +http[^]*\nstore {2}.*\n {2}state +live\n {2}holds +1 key, 5 versions\n/,
  );
  expect(await cli(["gaps"])).toMatchObject({ exitCode: 0, stdout: "" });
  expect(await cli(["quarantine"])).toMatchObject({ exitCode: 0, stdout: "", stderr: "Nothing is quarantined.\n" });
  expect(await json(["fsck"])).toMatchObject([{ clean: true, findings: [], versions: "5" }]);

  expect(await daemon.stop("SIGTERM")).toBe(0);
  expect(daemon.output().stdout).toBe(`${JSON.stringify({ ready: true, http: daemon.http, watch: daemon.watch })}\n`);
});

test("values and keys survive byte for byte", async () => {
  const { cli, json } = await startDaemon(["--data", testFolder()]);
  const value = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  const key = "00ff0a1b5b";
  expect(await cli(["put", "--hex", key, "-"], { stdin: value })).toMatchObject({ exitCode: 0 });
  expect((await cli(["get", "--hex", key])).stdoutBytes).toEqual(value);
  expect((await cli(["get", "--base64", Buffer.from(key, "hex").toString("base64"), "--raw"])).stdoutBytes).toEqual(
    value,
  );
  expect(await json(["get", "--hex", key])).toMatchObject([
    { key: { base64: Buffer.from(key, "hex").toString("base64") }, value: { base64: value.toString("base64") } },
  ]);
  const listed = await cli(["ls"]);
  expect(listed.stdout).toContain("0x00ff0a1b5b (5 bytes)");
  expect(listed.stdout).not.toMatch(/[^\P{Cc}\n]/u);
  expect((await cli(["ls", "--hex", "00ff"])).stdout).toContain("0x00ff0a1b5b");
  expect((await cli(["put", "empty", ""])).exitCode).toBe(0);
  expect(await json(["get", "empty"])).toMatchObject([{ value: { text: "", base64: "" } }]);
});

test("watch shows what happens, and goes on from a position without a loss", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  const watching = spawnCli(["watch", "a/", "--json", "-n", "3", "--after", "0"], { TIDEMARK_URL: daemon.http });
  const human = spawnCli(["watch"], { TIDEMARK_URL: daemon.http });
  const closed = once(watching, "close");
  const lines: Json[] = [];
  createInterface({ input: watching.stdout }).on("line", (line) => lines.push(JSON.parse(line)));
  const [first] = (await once(createInterface({ input: human.stderr }), "line")) as [string];
  expect(first).toBe("Watching from position 0. Ctrl-C ends it.");
  const shown: string[] = [];
  createInterface({ input: human.stdout }).on("line", (line) => shown.push(line));

  for (const [key, value] of [
    ["a/1", "x"],
    ["b/1", "y"],
    ["a/2", "z"],
  ] as const)
    await daemon.cli(["put", key, value]);
  await daemon.cli(["del", "a/1"]);
  expect(await closed).toEqual([0, null]);
  expect(lines.map((line) => [line.key.text, line.deleted, line.position])).toEqual([
    ["a/1", false, "1"],
    ["a/2", false, "3"],
    ["a/1", true, "4"],
  ]);

  const replayed = await daemon.json(["watch", "--after", "1", "-n", "3"]);
  expect(replayed.map((line: Json) => line.position)).toEqual(["2", "3", "4"]);

  await until(() => shown.length === 4);
  expect(shown.map((line) => line.replace(/\d\d:\d\d:\d\d/, "TIME"))).toEqual([
    "1 TIME  put  a/1 = x",
    "2 TIME  put  b/1 = y",
    "3 TIME  put  a/2 = z",
    "4 TIME  del  a/1",
  ]);
  human.kill("SIGINT");
  expect(await once(human, "close")).toEqual([130, null]);
});
