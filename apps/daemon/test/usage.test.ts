import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { version } from "../src/version.ts";
import { spawnCli, testFolder, tidemark } from "./support.ts";

test("--version prints the version and nothing else", async () => {
  expect(await tidemark(["--version"])).toMatchObject({ exitCode: 0, stdout: `${version}\n`, stderr: "" });
});

test("--help lists every command, and each explains itself", async () => {
  const { stdout, exitCode } = await tidemark(["--help"]);
  expect(exitCode).toBe(0);
  const commands = [
    "up",
    "put",
    "del",
    "get",
    "ls",
    "log",
    "diff",
    "watch",
    "status",
    "fsck",
    "gaps",
    "quarantine",
    "migrate",
  ];
  for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, "m"));
  expect(stdout).toContain("Exit codes:");
  const helps = await Promise.all(commands.map((command) => tidemark([command, "--help"])));
  for (const [index, help] of helps.entries()) {
    expect(help.exitCode).toBe(0);
    expect(help.stdout).toContain(`Usage: tidemark ${commands[index]}`);
    if (commands[index] !== "quarantine" && commands[index] !== "migrate") expect(help.stdout).toContain("--json");
  }
  expect((await tidemark(["quarantine", "skip", "--help"])).stdout).toContain("--reason <text>");
});

test("--help ends quietly where whoever reads it has gone", async () => {
  const child = spawnCli(["migrate", "--help"]);
  child.stdout.destroy();
  const [stderr, [exitCode]] = await Promise.all([text(child.stderr), once(child, "close")]);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
});

test.for([
  [["frobnicate"], /unknown command 'frobnicate'/],
  [["stats"], /Did you mean status\?/],
  [["get"], /missing required argument 'key'/],
  [["get", "a", "b"], /too many arguments/],
  [["get", "a", "--josn"], /unknown option '--josn'[^]*Did you mean --json\?/],
  [["get", "", "--json"], /KEY must not be empty/],
  [["get", "a", "--at", "tomorrowish"], /--at must name a moment, got "tomorrowish"/],
  [["get", "0g", "--hex"], /KEY must be hex with --hex/],
  [["ls", "-n", "zero"], /--limit must be a whole number above 0, got "zero"/],
  [["diff", "a/"], /--from is missing/],
  [["watch", "--after", "x"], /--after must be a position, got "x"/],
  [["quarantine", "retry", "x"], /ID must be a number/],
  [["quarantine", "skip", "1"], /required option '--reason <text>' not specified/],
  [["get", "a", "--connect", "http://["], /--connect must be a URL such as http:\/\/127\.0\.0\.1:4650/],
  [["up", "--listen", "nowhere"], /--listen must be HOST:PORT/],
  [["up", "--listen", "0.0.0.0:0"], /--listen 0\.0\.0\.0:0 can be reached from other machines[^]*--insecure/],
  [["up", "--log-level", "loud"], /Allowed choices are trace/],
  [["up", "--prefix", "/x"], /there is no --etcd/],
  [["up", "--etcd", "localhost"], /--etcd: endpoint 1 is not a URL/],
  [["up", "--config", "nowhere.ts"], /There is no configuration file nowhere\.ts/],
] as const)("%s ends with 2 and says what is wrong", async ([args, message]) => {
  const { exitCode, stderr, stdout } = await tidemark(args, { cwd: testFolder() });
  expect(stderr).toMatch(message);
  expect(stderr).toMatch(/^error: /);
  expect(stderr).not.toMatch(/^ {4}at /m);
  expect(stdout).toBe("");
  expect(exitCode).toBe(2);
});

test("a command without a daemon ends with 3 and says how to start one", async () => {
  const commands = [["get", "a"], ["put", "a", "b"], ["ls"], ["log", "a"], ["watch"], ["status"], ["fsck"], ["gaps"]];
  const results = await Promise.all(commands.map((args) => tidemark([...args, "--connect", "127.0.0.1:1"])));
  for (const { exitCode, stderr } of results) {
    expect(stderr).toBe(
      "error: There is no daemon at http://127.0.0.1:1 (ECONNREFUSED).\n  Start one with `tidemark up`, or say where it is with --connect URL or TIDEMARK_URL.\n",
    );
    expect(exitCode).toBe(3);
  }
});

test("TIDEMARK_URL is where the daemon is, unless --connect says otherwise", async () => {
  const env = { TIDEMARK_URL: "http://127.0.0.1:2" };
  expect((await tidemark(["status"], { env })).stderr).toContain("no daemon at http://127.0.0.1:2 ");
  expect((await tidemark(["status", "--connect", "http://127.0.0.1:1"], { env })).stderr).toContain(
    "no daemon at http://127.0.0.1:1 ",
  );
});

test("something else at the address is not taken for a daemon", async () => {
  const server = createServer((_, response) => response.writeHead(404).end("not found")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { exitCode, stderr } = await tidemark([
    "status",
    "--connect",
    `127.0.0.1:${(server.address() as AddressInfo).port}`,
  ]);
  server.close();
  expect(stderr).toMatch(/What answers at .* is not this version of Tidemark/);
  expect(exitCode).toBe(5);
});

test("colours appear on a terminal only, and NO_COLOR wins", async () => {
  const args = ["status", "--connect", "127.0.0.1:1"];
  const [plain, forced, none] = await Promise.all([
    tidemark(args),
    tidemark(args, { env: { FORCE_COLOR: "1" } }),
    tidemark(args, { env: { NO_COLOR: "1" } }),
  ]);
  expect(plain?.stderr).toMatch(/^error: /);
  expect(stripVTControlCharacters(forced?.stderr ?? "")).toBe(plain?.stderr);
  expect(forced?.stderr).not.toBe(plain?.stderr);
  expect(none?.stderr).toBe(plain?.stderr);
});
