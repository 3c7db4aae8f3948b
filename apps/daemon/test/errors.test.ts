import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { startDaemon, testFolder, tidemark } from "./support.ts";

const up = (folder: string, ...args: string[]) =>
  tidemark(
    [
      "up",
      "--data",
      join(folder, "data"),
      "--listen",
      "127.0.0.1:0",
      "--watch-listen",
      "127.0.0.1:0",
      "--topics-listen",
      "127.0.0.1:0",
      ...args,
    ],
    { cwd: folder },
  );

async function takenPort(): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: async () => void server.close() };
}

test("a port in use is named with the flag that changes it", async () => {
  const folder = testFolder();
  await using taken = await takenPort();
  const page = await up(folder, "--listen", `127.0.0.1:${taken.port}`);
  expect(page.stderr).toMatch(
    new RegExp(`^error: 127\\.0\\.0\\.1:${taken.port} is already in use[^]*--listen 127\\.0\\.0\\.1:`, "m"),
  );
  expect(page.exitCode).toBe(4);
  const watch = await up(folder, "--watch-listen", `127.0.0.1:${taken.port}`);
  expect(watch.stderr).toMatch(
    new RegExp(`^error: 127\\.0\\.0\\.1:${taken.port} is already in use[^]*--watch-listen 127\\.0\\.0\\.1:`, "m"),
  );
  expect(watch.exitCode).toBe(4);
  expect(watch.stdout).toBe("");
});

test("an address that is not this machine's is named", async () => {
  const { stderr, exitCode } = await up(testFolder(), "--listen", "192.0.2.1:0", "--insecure");
  expect(stderr).toMatch(/^error: Tidemark cannot listen on 192\.0\.2\.1:0: this machine has no such address\.$/m);
  expect(exitCode).toBe(4);
});

test("a data folder that cannot be used says why", async () => {
  const folder = testFolder();
  writeFileSync(join(folder, "file"), "");
  const isFile = await tidemark(["up", "--data", join(folder, "file")]);
  expect(isFile.stderr).toMatch(
    /^error: The data folder .*file cannot be used: it is a file\.\n {2}Choose another one with --data/,
  );
  expect(isFile.exitCode).toBe(4);
  const inFile = await tidemark(["up", "--data", join(folder, "file", "data")]);
  expect(inFile.stderr).toMatch(/a part of the path is a file/);
});

// Root may write everywhere.
test.skipIf(process.getuid?.() === 0)("a data folder without rights says so", async () => {
  const folder = testFolder();
  const closed = join(folder, "closed");
  mkdirSync(closed);
  chmodSync(closed, 0o500);
  const { stderr, exitCode } = await tidemark(["up", "--data", closed]);
  chmodSync(closed, 0o700);
  expect(stderr).toMatch(/cannot be used: /);
  expect(exitCode).toBe(4);
});

test("a replica that another program has locked is said to be so, and nothing is to be reported", async () => {
  const folder = testFolder();
  const first = await startDaemon(["--data", join(folder, "data")]);
  await first.stop("SIGTERM");
  const holder = new Database(join(folder, "data", "replica.db"));
  onTestFinished(() => void holder.close());
  holder.exec("BEGIN IMMEDIATE");
  const { stderr, exitCode } = await up(folder, "--no-topics");
  expect(stderr).toMatch(/^error: A database of this daemon is locked by another program[^]*\n {2}End /m);
  expect(stderr).not.toContain("report");
  expect(exitCode).toBe(4);
});

test("a second daemon on the same folder is told where the first one is", async () => {
  const folder = testFolder();
  const first = await startDaemon(["--data", join(folder, "data")]);
  const second = await up(folder);
  expect(second.stderr).toContain(
    `error: Another daemon (process ${first.child.pid}, ${first.http}) is using ${join(folder, "data")}.\n`,
  );
  expect(second.stderr).toContain("--data DIR");
  expect(second.exitCode).toBe(4);
  // And the first one does not notice.
  expect((await first.cli(["put", "a", "b"])).exitCode).toBe(0);

  const check = await tidemark(["fsck", "--data", join(folder, "data")]);
  expect(check.stderr).toMatch(/in use/);
  expect(check.exitCode).toBe(4);

  await first.stop("SIGKILL");
  const third = await startDaemon(["--data", join(folder, "data")]);
  expect((await third.cli(["get", "a"])).stdout).toBe("b\n");
});

test.for(["replica.db", "store.db"])("a %s of a newer schema is refused and left alone", async (name) => {
  const folder = testFolder();
  const daemon = await startDaemon(["--data", join(folder, "data")]);
  await daemon.stop("SIGTERM");
  const database = new Database(join(folder, "data", name));
  const ours = Number(database.pragma("user_version", { simple: true }));
  database.pragma(`user_version = ${ours + 7}`);
  database.close();
  const { stderr, exitCode } = await up(folder);
  expect(stderr).toMatch(new RegExp(`^error: .*${name} was written by a newer Tidemark: .*${ours + 7}`));
  expect(stderr).toContain("Update Tidemark");
  expect(exitCode).toBe(4);
});

test.for(["replica.db", "store.db"])("a %s that is not ours is refused", async (name) => {
  const folder = testFolder();
  mkdirSync(join(folder, "data"));
  writeFileSync(join(folder, "data", name), "this is no database, but a text of some length\n".repeat(100));
  const { stderr, exitCode } = await up(folder);
  expect(stderr).toMatch(new RegExp(`^error: .*${name} cannot be opened: `));
  expect(exitCode).toBe(4);
});

test("a configuration that is wrong is refused with every mistake", async () => {
  const folder = testFolder();
  writeFileSync(join(folder, "tidemark.config.ts"), 'export default { lisen: "127.0.0.1:1", logLevel: 7 };\n');
  const { stderr, exitCode } = await tidemark(["up"], { cwd: folder });
  expect(stderr).toMatch(/^error: tidemark\.config\.ts: /);
  expect(stderr).toContain('`logLevel` must be "trace", "debug", "info", "warn", "error" or "silent", got number 7.');
  expect(stderr).toContain("`lisen` is not a setting. Did you mean `listen`?");
  expect(exitCode).toBe(2);
});

test("a configuration is found, obeyed and overridden by flags", async () => {
  const folder = testFolder();
  writeFileSync(
    join(folder, "tidemark.config.ts"),
    'import { defineConfig } from "@tidemark/daemon";\nexport default defineConfig({ dataDir: "kept", logLevel: "warn", listen: "127.0.0.1:1" });\n',
  );
  const daemon = await startDaemon([], { cwd: folder });
  expect(await daemon.json(["status"])).toMatchObject([{ dataDir: join(folder, "kept") }]);
  expect(daemon.output().stderr).toBe("");
});

test("writing to a daemon without a store says what it follows", async () => {
  const daemon = await startDaemon(["--data", testFolder(), "--etcd", "http://127.0.0.1:1", "--prefix", "/x"]);
  const { stderr, exitCode } = await daemon.cli(["put", "a", "b"]);
  expect(stderr).toMatch(/^error: This daemon has no store of its own; it follows etcd at http:\/\/127\.0\.0\.1:1/);
  expect(exitCode).toBe(5);
});

test("moments that the history does not have are told apart from usage", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  await daemon.cli(["put", "a", "b"]);
  const future = await daemon.cli(["get", "a", "--at", "1000"]);
  expect(future.exitCode).toBe(1);
  expect(future.stderr).toMatch(/1000/);
  const unknown = await daemon.cli(["ls", "--stream", "nowhere"]);
  expect(unknown.stderr).toBe('error: There is no stream "nowhere"; there is store.\n');
  expect(unknown.exitCode).toBe(1);
  const none = await daemon.cli(["quarantine", "retry", "7"]);
  expect(none.exitCode).toBe(1);
  const never = await daemon.cli(["log", "never"]);
  expect(never).toMatchObject({ exitCode: 1, stderr: "error: There never was a key never.\n" });
});

test("fsck of a folder works without a daemon, and says where none is", async () => {
  const folder = testFolder();
  const daemon = await startDaemon(["--data", folder]);
  await daemon.cli(["put", "a", "b"]);
  await daemon.stop("SIGTERM");
  const clean = await tidemark(["fsck", "--data", folder]);
  expect(clean.stdout).toMatch(/^clean {2}1 version of 1 key checked in /);
  expect(clean.exitCode).toBe(0);

  const database = new Database(join(folder, "replica.db"));
  database.exec("UPDATE versions SET level = 99");
  database.close();
  const broken = await tidemark(["fsck", "--data", folder, "--json"]);
  expect(broken.exitCode).toBe(1);
  expect(JSON.parse(broken.stdout)).toMatchObject({
    clean: false,
    findings: [{ invariant: expect.stringMatching(/^V\d$/) }],
  });
  const human = await tidemark(["fsck", "--data", folder]);
  expect(human.stdout).toMatch(/^V\d {2}.*\n[^]*finding/);

  const nowhere = await tidemark(["fsck", "--data", testFolder()]);
  expect(nowhere.stderr).toMatch(/^error: There is no history in .*replica\.db is missing/);
  expect(nowhere.exitCode).toBe(4);
});
