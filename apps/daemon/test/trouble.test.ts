import { join } from "node:path";
import { startEtcd } from "@tidemark/source-etcd/testing";
import { serviceTest } from "@tidemark/tooling/services";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { startDaemon, testFolder, tidemark, until } from "./support.ts";

test("a change that cannot be stored is set aside, shown, and stored or skipped when a person says so", async () => {
  const folder = testFolder();
  await (await startDaemon(["--data", folder])).stop("SIGTERM");
  // The database itself refuses some values, as a full or damaged one might.
  const database = new Database(join(folder, "replica.db"));
  const refuse = (pattern: string) =>
    database.exec(`CREATE TRIGGER refuse BEFORE INSERT ON versions WHEN CAST(new.value AS TEXT) LIKE '${pattern}'
      BEGIN SELECT RAISE(ABORT, 'poison is refused'); END`);
  refuse("poison%");

  const daemon = await startDaemon(["--data", folder]);
  const { cli, json } = daemon;
  await cli(["put", "good", "1"]);
  await cli(["put", "bad", "poison 1"]);
  await cli(["put", "worse", "poison 2"]);
  // The stream goes on behind them.
  await cli(["put", "good", "2"]);
  expect((await cli(["get", "good"])).stdout).toBe("2\n");
  expect((await cli(["get", "bad"])).exitCode).toBe(1);

  const listed = await cli(["quarantine"]);
  expect(listed.stdout).toMatch(
    /^ID +STREAM +SINCE +KEY +STATE +WHY\n1 +store .* bad +open .*poison is refused.*\n2 +store .* worse +open .*\n$/,
  );
  expect(listed.stderr).toContain("tidemark quarantine skip ID --reason");
  expect(await json(["quarantine", "list"])).toMatchObject([
    { id: 1, key: { text: "bad" }, value: { text: "poison 1" }, state: "open", resolution: null },
    { id: 2, key: { text: "worse" }, state: "open" },
  ]);
  expect((await cli(["status"])).stdout).toContain("2 quarantined (see `tidemark quarantine list`)");
  await until(() => daemon.output().stderr.includes("tidemark quarantine list"));

  const early = await cli(["quarantine", "retry", "1"]);
  expect([early.exitCode, early.stderr]).toEqual([1, expect.stringMatching(/poison is refused/)]);
  // The other one stays refused: the daemon tries again by itself, and would have stored it before somebody skips it.
  database.exec("BEGIN IMMEDIATE; DROP TRIGGER refuse");
  refuse("poison 2");
  database.exec("COMMIT");
  expect(await cli(["quarantine", "retry", "1"])).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^bad retried: /),
  });
  expect((await cli(["get", "bad"])).stdout).toBe("poison 1\n");
  const skipped = await cli(["quarantine", "skip", "2", "--reason", "nobody needs it"]);
  expect(skipped).toMatchObject({ exitCode: 0, stdout: "worse skipped: nobody needs it\n" });
  expect(await json(["quarantine"])).toEqual([]);
  expect(await json(["quarantine", "--all"])).toMatchObject([
    { state: "retried" },
    { state: "skipped", resolution: "nobody needs it" },
  ]);
  database.exec("DROP TRIGGER refuse");
  database.close();
  expect((await cli(["get", "worse"])).exitCode).toBe(1);
  expect(await json(["fsck"])).toMatchObject([{ clean: true }]);
});

serviceTest("etcd")("what etcd forgot while the daemon was down is a gap that is shown", async () => {
  await using etcd = await startEtcd();
  const folder = testFolder();
  const args = ["--data", folder, "--etcd", etcd.endpoint];
  await etcd.client.put("/a", "1");
  const first = await startDaemon(args);
  expect((await first.cli(["get", "/a", "--fresh"])).stdout).toBe("1\n");
  const none = await first.cli(["gaps"]);
  expect([none.stdout, none.stderr]).toEqual([
    "",
    "No gaps: every change since the beginning of each stream is here.\n",
  ]);
  await first.stop("SIGKILL");
  for (let n = 2; n <= 5; n++) await etcd.client.put("/a", `${n}`);
  await etcd.client.put("/b", "1");
  await etcd.compact();

  const second = await startDaemon(args);
  expect((await second.cli(["get", "/a", "--fresh"])).stdout).toBe("5\n");
  const [gap, ...more] = await second.json(["gaps"]);
  expect(more).toEqual([]);
  expect(gap).toMatchObject({ stream: "etcd", reason: "compacted", position: "1" });
  const [status] = await second.json(["status"]);
  expect(status.streams).toMatchObject([{ gaps: "1", state: "live" }]);
  expect((await second.cli(["status"])).stdout).toContain("1 gap (see `tidemark gaps`)");
  expect((await second.cli(["gaps"])).stdout).toMatch(
    /^ID +STREAM +NOTICED +POSITION +REASON +LOST +DETAIL\n1 +etcd .* compacted /,
  );
  expect((await second.json(["log", "/a"])).map((each) => each.value.text)).toEqual(["5", "1"]);
  await second.stop("SIGTERM");
  expect(await tidemark(["fsck", "--data", folder])).toMatchObject({ exitCode: 0 });
});
