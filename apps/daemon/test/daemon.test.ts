import { once } from "node:events";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { expect, test } from "vitest";
import { version } from "../src/version.ts";
import { type Json, spawnCli, startDaemon, testFolder, until } from "./support.ts";

const keysOf = (lines: readonly Json[]) => lines.map((line: Json) => line.key.text);

test("up --json prints one line, and everything works end to end", async () => {
  const folder = testFolder();
  const daemon = await startDaemon(["--data", join(folder, "data")]);
  expect(daemon.http).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(daemon.watch).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  const { cli, json } = daemon;

  const put = await cli(["put", "config/colour", "red"]);
  expect(put).toMatchObject({ exitCode: 0, stdout: "config/colour = red  revision 1\n", stderr: "" });
  await cli(["put", "config/colour", "blue"]);
  await cli(["put", "config/size", '{"w":1,"h":2}']);
  // What a command wrote is there for the next one.
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
  await cli(["put", "config/size", '{"w":1,"h":3}']);
  const deleted = await cli(["del", "config/colour"]);
  expect(deleted).toMatchObject({ exitCode: 0, stdout: "config/colour deleted  revision 5\n" });

  // All of these only look; two at a time, as there are cores.
  const looks: (() => Promise<void>)[] = [
    async () =>
      expect(await cli(["get", "config/colour", "--at", "1"])).toMatchObject({ exitCode: 0, stdout: "red\n" }),
    async () =>
      expect(await cli(["get", "config/colour", "--at", "2"])).toMatchObject({ stdout: "blue\n", stderr: "" }),
    async () => expect((await cli(["get", "config/colour", "--at", `cursor:${colour.cursor}`])).stdout).toBe("blue\n"),
    async () => expect((await cli(["get", "config/colour", "--at", colour.committedAt])).stdout).toBe("blue\n"),
    async () => expect(await cli(["get", "config/size", "--at", "now"])).toMatchObject({ stdout: '{"w":1,"h":3}\n' }),
    async () => {
      const { stdout, stderr, exitCode } = await cli(["get", "config/colour"]);
      expect(stderr).toMatch(
        /^error: The key config\/colour was deleted .*\.\n {2}Its past: tidemark log config\/colour\n$/,
      );
      expect([stdout, exitCode]).toEqual(["", 1]);
    },
    async () =>
      expect((await cli(["get", "config/size", "--at", "1"])).stderr).toMatch(
        /^error: There was no key config\/size at 1\.$/m,
      ),
    async () => expect((await cli(["get", "never"])).stderr).toBe("error: There is no key never.\n"),
    async () => {
      const { stderr, exitCode } = await cli(["del", "config/colour"]);
      expect([stderr, exitCode]).toEqual(["error: There is no key config/colour, so nothing was deleted.\n", 1]);
    },
    async () =>
      expect((await cli(["ls", "config/", "--at", "3"])).stdout).toMatch(
        /^KEY +POSITION +CHANGED +VALUE\nconfig\/colour +2 .*blue\nconfig\/size +3 .*\{"w":1,"h":2\}\n$/,
      ),
    async () => expect(keysOf(await json(["ls"]))).toEqual(["config/size"]),
    async () => expect(keysOf(await json(["ls", "config/c", "--at", "4"]))).toEqual(["config/colour"]),
    async () => expect((await json(["ls", "--deleted"])).map((each) => each.deleted)).toEqual([true, false]),
    async () => expect(await json(["ls", "--deleted", "-n", "1"])).toHaveLength(1),
    async () =>
      expect((await cli(["log", "config/colour"])).stdout).toMatch(
        /^POSITION +COMMITTED +VERSION +CHANGE +VALUE\n +5 .* deleted\n +2 .* put +blue\n +1 .* created +red\n$/,
      ),
    async () =>
      expect((await cli(["log", "config/colour", "--diff"])).stdout).toMatch(/- red\n +\+ blue\n[^]*\+ red\n$/),
    async () =>
      expect((await json(["log", "config/colour"])).map((each) => each.deleted)).toEqual([true, false, false]),
    async () =>
      expect((await cli(["diff", "config/size"])).stdout).toMatch(
        /^~ config\/size +changed, position 3 → 4\n[^]*- +"h": 2\n +\+ +"h": 3\n/,
      ),
    async () => {
      const differences = await json(["diff", "config/", "--from", "1", "--to", "4"]);
      expect(differences.map((each) => [each.key.text, each.change])).toEqual([
        ["config/colour", "changed"],
        ["config/size", "added"],
      ]);
    },
    async () => {
      const streams = [
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
      ];
      expect(await json(["status"])).toMatchObject([
        { version, position: "5", dataDir: join(folder, "data"), watch: daemon.watch, streams },
      ]);
    },
    async () =>
      expect((await cli(["status"])).stdout).toMatch(
        /^daemon +http[^]*\nstore {2}.*\n {2}state +live\n {2}holds +1 key, 5 versions, \d+ bytes in the store\n/,
      ),
    async () => expect(await cli(["gaps"])).toMatchObject({ exitCode: 0, stdout: "" }),
    async () => expect(await cli(["quarantine"])).toMatchObject({ exitCode: 0, stderr: "Nothing is quarantined.\n" }),
    async () => expect(await json(["fsck"])).toMatchObject([{ clean: true, findings: [], versions: "5" }]),
  ];
  const work = looks.values();
  await Promise.all(
    [1, 2].map(async () => {
      for (const look of work) await look();
    }),
  );

  expect(await daemon.stop("SIGTERM")).toBe(0);
  const { http, watch, topics } = daemon;
  expect(daemon.output().stdout).toBe(`${JSON.stringify({ ready: true, http, watch, topics })}\n`);
});

test("values and keys survive byte for byte", async () => {
  const { cli, json } = await startDaemon(["--data", testFolder()]);
  const value = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  const key = "00ff0a1b5b";
  expect(await cli(["put", "--hex", key, "-"], { stdin: value })).toMatchObject({ exitCode: 0 });
  expect((await cli(["put", "empty", ""])).exitCode).toBe(0);
  const base64 = Buffer.from(key, "hex").toString("base64");
  const [hexed, raw, exact, listed, empty] = await Promise.all([
    cli(["get", "--hex", key]),
    cli(["get", "--base64", base64, "--raw"]),
    json(["get", "--hex", key]),
    cli(["ls", "--hex", "00ff"]),
    json(["get", "empty"]),
  ]);
  expect(hexed.stdoutBytes).toEqual(value);
  expect(raw.stdoutBytes).toEqual(value);
  expect(exact).toMatchObject([{ key: { base64 }, value: { base64: value.toString("base64") } }]);
  expect(listed.stdout).toContain("0x00ff0a1b5b (5 bytes)");
  expect(listed.stdout).not.toMatch(/[^\P{Cc}\n]/u);
  expect(empty).toMatchObject([{ value: { text: "", base64: "" } }]);
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
