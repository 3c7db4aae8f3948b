import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify, stripVTControlCharacters } from "node:util";
import { serviceTest } from "@tidemark/tooling/services";
import Sqlite from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { mariadbUrl, postgresUrl } from "./sql-servers.ts";
import { definitions, type Json, main, type RunResult, spawnCli, testFolder, tidemark, until } from "./support.ts";

const migrate = (args: readonly string[], env: Readonly<Record<string, string>> = {}, cwd?: string) =>
  tidemark(["migrate", ...args], { env, ...(cwd !== undefined && { cwd }) });
const spawnMigrate = (args: readonly string[], env: Readonly<Record<string, string>>) =>
  spawnCli(["migrate", ...args], env);
const jsonOf = ({ stdout }: RunResult): Json[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Json);

const emails = (rows: number) =>
  Array.from({ length: rows }, (_, index) => `(${index + 1}, 'person${index + 1}@example${index % 7}.org')`).join(", ");

/** A file with people in it. */
function sqlitePeople(rows: number, journalMode = "wal") {
  const file = join(testFolder(), "app.db");
  const db = new Sqlite(file);
  onTestFinished(() => void db.close());
  db.pragma(`journal_mode = ${journalMode}`);
  db.exec("create table people (id integer primary key, email text not null, domain text, length integer)");
  if (rows > 0) db.exec(`insert into people (id, email) values ${emails(rows)}`);
  return { file, db };
}

/** What is promised for every database; the environment names it, so that no password is an argument. */
async function everyCommand(url: string, dialect: string, query: (sql: string) => Promise<unknown[][]>) {
  const env = { TIDEMARK_DATABASE: url };
  const at = ["--definitions", definitions(dialect)];
  await query(
    "create table people (id integer primary key not null, email varchar(100) not null, domain text, length integer)",
  );
  await query(`insert into people (id, email) values ${emails(3000)}`);

  const none = await migrate(["list"], env);
  expect(none).toMatchObject({ exitCode: 0, stdout: "", stderr: expect.stringMatching(/No migration was ever run/) });
  const unknown = await migrate(["pause", "domains"], env);
  expect(unknown).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/There is no migration "domains".*\n {2}It has: none/),
  });

  const ran = await migrate(["run", ...at], env);
  expect(ran.stderr).toBe("");
  expect(ran.exitCode).toBe(0);
  const lines = ran.stdout.trim().split("\n");
  expect(lines).toContain("domains done 3,000 / 3,000 rows 100%");
  expect(lines.at(-1)).toBe("lengths done 3,000 / 3,000 rows 100%");
  expect(ran.stdout).toBe(stripVTControlCharacters(ran.stdout));
  expect(await query("select count(*) from people where domain like 'example%.org' and length > 15")).toEqual([[3000]]);

  const list = await migrate(["list", "--json"], env);
  expect(jsonOf(list)).toMatchObject([
    {
      name: "domains",
      state: "done",
      storedState: "done",
      runNo: 1,
      rowsDone: 3000,
      rowsChanged: 3000,
      rowsQuarantined: 0,
      total: 3000,
      totalKind: "exact",
      progress: 1,
      rowsPerSecond: null,
      etaMs: null,
      throttleReason: null,
      endedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      error: null,
    },
    { name: "lengths", state: "done", rowsDone: 3000 },
  ]);
  expect((await migrate(["list"], env)).stdout).toMatch(/^MIGRATION +STATE .*\ndomains +done +3,000 \/ 3,000 +100%/);

  const verified = await migrate(["verify", ...at, "--json"], env);
  expect(jsonOf(verified)).toMatchObject([
    { name: "domains", verdict: "right" },
    { name: "lengths", verdict: "right" },
  ]);
  await query("update people set domain = 'spoilt' where id = 1234");
  const wrong = await migrate(["verify", "domains", ...at], env);
  expect(wrong).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/domains {2}wrong: 1 rows .*1234/) });

  const refused = await migrate(["retry", "domains", ...at], env);
  expect(refused).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/A run that is done takes no retry; nothing is left/),
  });
  for (const { stdout, stderr } of [none, unknown, ran, list, verified, wrong, refused])
    expect(stdout + stderr).not.toContain("s3cret");
}

test("sqlite: every command", { timeout: 120_000 }, async () => {
  const file = join(testFolder(), "app.db");
  const db = new Sqlite(file);
  onTestFinished(() => void db.close());
  db.pragma("journal_mode = wal");
  await everyCommand(file, "sqlite", async (sql) => {
    const statement = db.prepare(sql);
    return statement.reader ? (statement.raw().all() as unknown[][]) : (statement.run(), []);
  });
});

const password = "s3cret@/p:w%";

serviceTest("postgres")(
  "postgres: every command, and the password is never printed",
  async () => {
    const url = await postgresUrl(password);
    const { default: pg } = await import("pg");
    const pool = new pg.Pool({ connectionString: url, max: 1 });
    onTestFinished(() => pool.end());
    await everyCommand(url, "postgresql", async (text) => {
      const { rows } = await pool.query<unknown[]>({ text, rowMode: "array" });
      return rows.map((row) => row.map(Number));
    });
  },
  120_000,
);

serviceTest("mariadb")(
  "mariadb: every command, and the password is never printed, also when it is wrong",
  async () => {
    const url = await mariadbUrl(password);
    const { createPool } = await import("mysql2/promise");
    const pool = createPool({ uri: url, connectionLimit: 1 });
    onTestFinished(() => pool.end());
    await everyCommand(url, "mysql", async (sql) => {
      const [rows] = await pool.query({ sql, rowsAsArray: true });
      return Array.isArray(rows) ? (rows as unknown[][]) : [];
    });
    const wrong = await migrate(["list", "--database", url.replace("app:", "app:x")]);
    expect(wrong.exitCode).toBe(3);
    expect(wrong.stderr).toMatch(/The database at mysql:\/\/localhost\/app does not let us in: Access denied/);
    expect(wrong.stderr).not.toMatch(/s3cret|xs3/);
    const mariadb = await migrate(["list", "--database", url.replace("mysql:", "mariadb:")]);
    expect(mariadb).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/domains/) });
  },
  120_000,
);

test("one process runs while others look, pause, resume, watch and stop it", { timeout: 120_000 }, async () => {
  const { file, db } = sqlitePeople(8_000);
  const env = { TIDEMARK_DATABASE: file };
  const at = ["--definitions", definitions("slow")];
  const runner = spawnMigrate(["run", "--json", ...at], env);
  // It may be gone before the command that pauses it is.
  const gone = once(runner, "close");
  let seen = "";
  runner.stdout.on("data", (data: Buffer) => (seen += data.toString()));
  await until(() => /"state":"running".*"rowsDone":[1-9]/.test(seen));

  const paused = await migrate(["pause", "slow"], env);
  expect(paused).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^slow is paused at [\d,]+ \/ 8,000 rows\n$/),
  });
  const [exitCode] = (await gone) as [number];
  // Nothing can go on, and not everything is done.
  expect(exitCode).toBe(1);
  const done = () => db.prepare("select count(*) from people where length = 1").pluck().get();
  const [status] = jsonOf(await migrate(["list", "--json"], env));
  expect(status).toMatchObject({ state: "paused", rowsDone: done() });
  const again = await migrate(["run", ...at], env);
  expect(again).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/slow is paused\. `tidemark migrate resume slow`/),
  });

  expect((await migrate(["resume", "slow"], env)).stdout).toMatch(/^slow is registered at/);
  const second = spawnMigrate(["run", ...at], env);
  const watcher = spawnMigrate(["watch"], env);
  let watched = "";
  watcher.stdout.on("data", (data: Buffer) => (watched += data.toString()));
  await until(() => /slow running [\d,]+ \/ 8,000 rows \d+% \d+\/s ETA/.test(watched));
  const closed = once(second, "close");
  second.kill("SIGINT");
  expect(await closed).toEqual([130, null]);
  // It was given back: nobody has to wait for its lease.
  expect(jsonOf(await migrate(["list", "--json"], env))).toMatchObject([
    { state: "registered", owner: null, rowsDone: done() },
  ]);

  const ended = once(watcher, "close");
  expect((await migrate(["cancel", "slow"], env)).stdout).toMatch(/^slow is cancelled at/);
  expect(await ended).toEqual([1, null]);
  expect(watched).toMatch(/slow cancelled/);
  const retried = await migrate(["retry", "slow", ...at, "--json"], env);
  expect(jsonOf(retried)).toMatchObject([{ state: "registered", runNo: 2, rowsDone: done() }]);
  expect((await migrate(["pause", "slo"], env)).stderr).toMatch(/Did you mean slow\?/);
});

test("on a terminal there is a bar, drawn over itself", { timeout: 120_000 }, async () => {
  const { file } = sqlitePeople(400);
  const line = `stty cols 100; ${process.execPath} ${main} migrate run --database ${file} --definitions ${definitions("slow")}`;
  // `script` runs a command on a terminal of its own.
  const { stdout } = await promisify(execFile)("script", ["-qec", line, "/dev/null"], {
    env: { ...process.env, TERM: "xterm" },
  });
  expect(stdout).toContain("\x1b[1A");
  const drawn = stripVTControlCharacters(stdout)
    .split(/\r?\n|\r/)
    .filter((each) => each.startsWith("slow"));
  expect(drawn.some((each) => /^slow {2}█+░+ {2}running {2} *\d+% {2}\d+ \/ 400 rows/.test(each))).toBe(true);
  expect(drawn.at(-1)).toMatch(/^slow {2}█{24} {2}done {2}100% {2}400 \/ 400 rows$/);
  for (const each of drawn) expect(each.length).toBeLessThanOrEqual(100);
});

test("a migration that fails says why and what to do, in text and in JSON", async () => {
  const { file } = sqlitePeople(3);
  const env = { TIDEMARK_DATABASE: file };
  const at = ["--definitions", definitions("broken")];
  const failed = await migrate(["run", ...at], env);
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr).toMatch(/broken is failed: SQL_FAILED: .*nowhere\.column.*`tidemark migrate retry broken`/);
  const [status] = jsonOf(await migrate(["list", "--json"], env));
  expect(status).toMatchObject({
    state: "failed",
    error: { code: "SQL_FAILED", message: expect.stringMatching(/nowhere/) },
  });
  expect((await migrate(["watch"], env)).exitCode).toBe(1);
});

test.for([
  [["list"], 2, /--database is missing, and so is TIDEMARK_DATABASE[^]*For example: app\.db/],
  [["list", "--database", "oracle://u:hunter2@h/x"], 2, /must be a file or a postgres or mysql URL, got one of oracle/],
  [["list", "--database", "postgres://u:hun ter2@[/x"], 2, /is no URL that can be read[^]*%40/],
  [["list", "--database", "nowhere.db"], 4, /Expected a SQLite database at nowhere\.db, and there is no such file/],
  [
    ["list", "--database", "postgres://u:hunter2@127.0.0.1:1/x"],
    3,
    /postgres:\/\/127\.0\.0\.1:1\/x does not let us in: .*ECONNREFUSED/,
  ],
  [
    ["list", "--database", "mysql://u:hunter2@127.0.0.1:1/x"],
    3,
    /mysql:\/\/127\.0\.0\.1:1\/x does not let us in: .*ECONNREFUSED/,
  ],
  [
    ["list", "--database", "mysql://u:hunter2@/x?socketPath=/nowhere"],
    3,
    /mysql:\/\/localhost\/x does not let us in: .*ENOENT/,
  ],
  [["list", "--database", "mysql://u:50%hunter2@h/x"], 2, /mysql:\/\/h\/x cannot be used: URI malformed[^]*%25/],
  [["list", "--database", "mysql://u:hunter2@h/x?ssl=none"], 2, /mysql:\/\/h\/x cannot be used: Unknown SSL profile/],
  [["run", "--database", "x.db"], 2, /Expected a folder or module of definitions at \.\/migrations/],
  [
    ["run", "--database", "x.db", "--definitions", "nowhere"],
    2,
    /definitions at nowhere, and there is none[^]*--definitions PATH/,
  ],
  [["retry", "x", "--from", "end", "--database", "x.db"], 2, /--from must be cursor or start, got "end"/],
  [["pasue", "x"], 2, /unknown command 'pasue'[^]*Did you mean pause\?/],
] as const)("%s ends with %i and says what is wrong", async ([args, exitCode, message]) => {
  const result = await migrate(args, {}, testFolder());
  expect(result.stderr).toMatch(message);
  expect(result.stderr).not.toMatch(/hunter2|hun ter2|^ {4}at /m);
  expect(result).toMatchObject({ exitCode, stdout: "" });
});

test("lint ends with 1 where something is found, 0 where nothing is, and 2 where it cannot look", async () => {
  const folder = testFolder();
  const drizzle = join(folder, "drizzle");
  mkdirSync(join(drizzle, "meta"), { recursive: true });
  writeFileSync(join(drizzle, "meta/_journal.json"), '{"dialect":"sqlite"}');
  writeFileSync(
    join(drizzle, "0000.sql"),
    "CREATE TABLE people (id integer PRIMARY KEY, email text, domain text, length integer);",
  );
  // Both places at once: `people` is made by the SQL, and its migrations only search it.
  const clean = await migrate(["lint", "drizzle", definitions("sqlite")], {}, folder);
  expect(clean).toMatchObject({ exitCode: 0, stdout: "clean: 2 definitions in 2 files\n", stderr: "" });
  writeFileSync(join(drizzle, "0001.sql"), "CREATE INDEX i ON people (email);\nUPDATE people SET domain = 'x';");
  const text = await migrate(["lint"], {}, folder);
  expect(text.exitCode).toBe(1);
  expect(text.stdout).toMatch(
    /^drizzle\/0001\.sql:1 {2}blocking-ddl .*\n.*\ndrizzle\/0001\.sql:2 {2}full-table-write .*\n.*\n2 found: /,
  );
  const json = await migrate(["lint", "--json"], {}, folder);
  expect(jsonOf(json)).toMatchObject([
    { rule: "blocking-ddl", file: "drizzle/0001.sql", line: 1, statement: "CREATE INDEX i ON people (email)" },
    { rule: "full-table-write", line: 2 },
  ]);
  expect(json.exitCode).toBe(1);
  const sarif = await migrate(["lint", "--format", "sarif"], {}, folder);
  expect((JSON.parse(sarif.stdout) as Json).runs[0].results).toHaveLength(2);
  expect((await migrate(["lint", "--format", "github"], {}, folder)).stdout).toMatch(
    /^::error file=drizzle\/0001\.sql,line=1/,
  );
  const { file } = sqlitePeople(3);
  const planned = await migrate(["lint", definitions("sqlite"), "--database", file], {}, folder);
  expect(planned).toMatchObject({ exitCode: 0, stdout: "clean: 2 definitions in 1 file\n" });
  const nowhere = await migrate(["lint", "nowhere"], {}, folder);
  expect(nowhere).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/There is no file or folder nowhere/) });
  expect((await migrate(["lint"], {}, testFolder())).stderr).toMatch(/Expected PATHS to look through/);
});

test("a database that is not in WAL mode is refused with the statement that helps", async () => {
  const { file } = sqlitePeople(1, "delete");
  const { exitCode, stderr } = await migrate(["list", "--database", file]);
  expect(stderr).toMatch(/has journal_mode delete.*run `PRAGMA journal_mode=WAL`/);
  expect(exitCode).toBe(4);
});
