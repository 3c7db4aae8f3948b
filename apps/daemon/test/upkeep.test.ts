import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Clock, systemClock } from "@tidemark/clock";
import { catalogSource } from "@tidemark/source-catalog";
import { etcdSource } from "@tidemark/source-etcd";
import { startEtcd } from "@tidemark/source-etcd/testing";
import { Metrics } from "@tidemark/status";
import { type History, openHistory, openWatcher, type Source } from "@tidemark/store-watch";
import { serviceTest } from "@tidemark/tooling/services";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { upkeepDefaults, type UpkeepSettings } from "../src/config/upkeep-settings.ts";
import { createLog } from "../src/daemon/log.ts";
import { Upkeep } from "../src/daemon/upkeep/upkeep.ts";
import { startDaemon, testFolder, tidemark } from "./support.ts";

const etcdTest = serviceTest("etcd");

/** The machine's clock, and a person who can set it forward. */
function settableClock(): Clock & { forward(ms: number): void } {
  let offset = 0;
  return {
    now: () => systemClock.now() + offset,
    monotonic: () => systemClock.monotonic(),
    sleep: (ms, options) => systemClock.sleep(ms, options),
    setTimer: (ms, callback) => systemClock.setTimer(ms, callback),
    setImmediate: (callback) => systemClock.setImmediate(callback),
    forward: (ms) => {
      offset += ms;
    },
  };
}

/** A person with a SQLite tool. */
function tamper(folder: string, sql: string): void {
  const db = new Database(join(folder, "replica.db"));
  db.exec(`PRAGMA foreign_keys = OFF; ${sql}`);
  db.close();
}

const head = (key: string) => `(SELECT head FROM objects WHERE key = CAST('${key}' AS BLOB))`;

/** Upkeep over one real source, as the daemon runs it, in this process: so that the clock can be set. */
async function kept(source: Source, settings: Partial<UpkeepSettings>, openSource?: () => Promise<Source>) {
  const folder = testFolder();
  const history = await openHistory({ file: join(folder, "replica.db") });
  const clock = settableClock();
  const watcher = await openWatcher({ history, source, name: "main" });
  const open = async () => {
    const metrics = new Metrics({ withProcess: false });
    const upkeep = await Upkeep.open({
      history,
      streams: () => [{ watcher, openSource }],
      settings: { ...upkeepDefaults, ...settings },
      folder,
      metrics,
      log: createLog("silent"),
      clock,
    });
    return { upkeep, metrics };
  };
  let opened = await open();
  onTestFinished(async () => {
    await opened.upkeep.close();
    await watcher.close();
    await history.close();
  });
  return {
    folder,
    history,
    watcher,
    clock,
    upkeep: () => opened.upkeep,
    metric: async (line: RegExp) => line.exec((await opened.metrics.render()).toString())?.[1],
    restart: async () => {
      await opened.upkeep.close();
      opened = await open();
    },
  };
}

async function valueOf(history: History, key: string): Promise<string | undefined> {
  const version = await history.get("main", Buffer.from(key));
  return version?.value && Buffer.from(version.value).toString();
}

etcdTest("a replica of a real etcd is audited when it is due, and what somebody did to it is undone", async () => {
  await using etcd = await startEtcd();
  for (let key = 0; key < 300; key++) await etcd.client.put(`/k${key}`, `${key}`);
  const source = () => etcdSource({ endpoints: [etcd.endpoint], prefix: "" });
  const day = 86_400_000;
  const { folder, history, watcher, clock, upkeep, metric, restart } = await kept(source(), {}, async () => source());
  await watcher.waitFor("now");
  await upkeep().run();
  // A stream that was just read is as good as audited.
  expect(upkeep().reports()).toEqual([]);
  clock.forward(day);
  await upkeep().run();
  expect(upkeep().reports()).toMatchObject([{ stream: "main", verdict: "equal", keys: 300, missing: 0, changed: 0 }]);
  expect(await metric(/tidemark_audits_total\{stream="main",verdict="equal"\} (\d+)/)).toBe("1");

  tamper(folder, `UPDATE versions SET value = CAST('forged' AS BLOB) WHERE pos = ${head("/k7")}`);
  tamper(
    folder,
    `DELETE FROM versions WHERE pos = ${head("/k8")}; DELETE FROM objects WHERE key = CAST('/k8' AS BLOB)`,
  );
  tamper(folder, "UPDATE objects SET key = CAST('/nobody' AS BLOB) WHERE key = CAST('/k9' AS BLOB)");
  await upkeep().run();
  expect(await valueOf(history, "/k7")).toBe("forged");
  // When it was audited last is known after a restart, too.
  await restart();
  await upkeep().run();
  expect(await valueOf(history, "/k7")).toBe("forged");
  clock.forward(day);
  await upkeep().run();
  expect(upkeep().reports()).toMatchObject([{ verdict: "repaired", missing: 2, extra: 1, changed: 1, keys: 300 }]);
  expect(await valueOf(history, "/k7")).toBe("7");
  expect(await valueOf(history, "/k8")).toBe("8");
  expect(await valueOf(history, "/nobody")).toBeUndefined();
  expect(await history.gaps("main")).toMatchObject([{ reason: "replica-differed" }]);
  expect(await metric(/tidemark_audits_total\{stream="main",verdict="repaired"\} (\d+)/)).toBe("1");
  expect(await metric(/tidemark_audit_different_keys_total\{stream="main"\} (\d+)/)).toBe("4");
  // The forged value stays in the history: that it was shown is a fact.
  const { items } = await history.log("main", Buffer.from("/k7"));
  expect(items.map(({ value }) => Buffer.from(value ?? []).toString())).toEqual(["7", "forged"]);
  await etcd.client.put("/k7", "news");
  await watcher.waitFor("now");
  expect(await valueOf(history, "/k7")).toBe("news");
});

etcdTest("an audit of an etcd that is away is tried again, and says so", async () => {
  await using etcd = await startEtcd();
  await etcd.client.put("/a", "1");
  const source = () => etcdSource({ endpoints: [etcd.endpoint], prefix: "" });
  const { watcher, clock, upkeep } = await kept(source(), {}, async () =>
    etcdSource({ endpoints: ["http://127.0.0.1:1"], prefix: "" }),
  );
  await watcher.waitFor("now");
  await upkeep().run();
  clock.forward(86_400_000);
  await upkeep().run();
  expect(upkeep().reports()).toMatchObject([{ verdict: "failed", reason: expect.stringMatching(/127\.0\.0\.1:1/) }]);
  const phase = upkeep()
    .status()
    ?.last?.phases.find((each) => each.phase === "audit");
  expect(phase).toMatchObject({ outcome: "partial", items: { failed: 1 } });
});

etcdTest("what the database refused is stored once it no longer does", async () => {
  await using etcd = await startEtcd();
  await etcd.client.put("/a", "1");
  const { folder, history, watcher, clock, upkeep, metric } = await kept(
    etcdSource({ endpoints: [etcd.endpoint], prefix: "" }),
    {},
  );
  await watcher.waitFor("now");
  tamper(
    folder,
    "CREATE TRIGGER refuse BEFORE INSERT ON versions WHEN NEW.value = CAST('odd' AS BLOB) BEGIN SELECT RAISE(ABORT, 'refused'); END",
  );
  await etcd.client.put("/a", "odd");
  await watcher.waitFor("now");
  expect(await history.quarantine("main")).toHaveLength(1);
  await upkeep().run();
  expect(await metric(/tidemark_quarantine_retries_total\{outcome="refused"\} (\d+)/)).toBe("1");
  expect(await valueOf(history, "/a")).toBe("1");
  tamper(folder, "DROP TRIGGER refuse");
  // The wait after the first failure, at most.
  clock.forward(60_000);
  await upkeep().run();
  expect(await valueOf(history, "/a")).toBe("odd");
  expect(await history.quarantine("main")).toEqual([]);
});

etcdTest("superseded versions are removed after the time that they are kept, and nothing else", async () => {
  await using etcd = await startEtcd();
  for (let count = 0; count < 5; count++) await etcd.client.put("/a", `${count}`);
  await etcd.client.put("/b", "kept");
  const retention = { keepMs: 3_600_000, everyMs: 1_000 };
  const { history, watcher, clock, upkeep, metric } = await kept(
    etcdSource({ endpoints: [etcd.endpoint], prefix: "" }),
    {
      retention,
    },
  );
  await watcher.waitFor("now");
  for (let count = 5; count < 8; count++) {
    await etcd.client.put("/a", `${count}`);
    await watcher.waitFor("now");
  }
  const versions = async () => (await history.log("main", Buffer.from("/a"))).items.length;
  await upkeep().run();
  expect(await versions()).toBe(4);
  clock.forward(3_700_000);
  await upkeep().run();
  expect(await versions()).toBe(1);
  expect(await valueOf(history, "/a")).toBe("7");
  expect(await valueOf(history, "/b")).toBe("kept");
  expect(await metric(/tidemark_retention_removed_versions_total (\d+)/)).toBe("3");
  expect((await history.fsck()).isClean).toBe(true);
});

test("a catalogue is audited against all that it has published, and repaired", async ({ signal }) => {
  const server = createServer((_, response) => response.end('[{"id": "mail"}, {"id": "wiki"}]'));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const home = testFolder();
  const source = catalogSource({
    catalogs: [{ name: "apps", url: `${url}/apps.json` }],
    stateFile: join(home, "state.db"),
    everyMs: 1e9,
  });
  const { folder, history, watcher, upkeep } = await kept(source, {}, async () => source);
  await watcher.waitFor("now");
  expect(await upkeep().audit("main", true, signal)).toMatchObject({ verdict: "equal", keys: 3 });
  tamper(folder, `UPDATE versions SET value = x'00' WHERE pos = ${head("/default/apps/wiki")}`);
  expect(await upkeep().audit("main", false, signal)).toMatchObject({ verdict: "different", changed: 1 });
  expect(await upkeep().audit("main", true, signal)).toMatchObject({ verdict: "repaired", changed: 1 });
  expect(await valueOf(history, "/default/apps/wiki")).toBe('{"entry":{"id":"wiki"}}');
});

test("`tidemark audit` finds and repairs what was done to the replica of the store", async () => {
  const folder = testFolder();
  const config = join(folder, "tidemark.config.json");
  writeFileSync(config, JSON.stringify({ audit: { everyMs: 0 } }));
  const daemon = await startDaemon(["--data", folder, "--config", config]);
  await daemon.cli(["put", "greeting", "hello"]);
  await daemon.cli(["put", "other", "x"]);
  const [equal] = await daemon.json(["audit"]);
  expect(equal).toMatchObject({ stream: "store", verdict: "equal", keys: "2", reason: null, differences: [] });
  tamper(folder, `UPDATE versions SET value = CAST('forged' AS BLOB) WHERE pos = ${head("greeting")}`);
  expect((await daemon.cli(["get", "greeting"])).stdout).toBe("forged\n");

  const looked = await daemon.cli(["audit", "store", "--no-repair"]);
  expect(looked.exitCode).toBe(1);
  expect(looked.stdout).toMatch(
    /^store {2}different {2}2 keys in .*\n.*1 with other contents\n {2}changed {2}greeting\n/,
  );
  expect((await daemon.cli(["get", "greeting"])).stdout).toBe("forged\n");
  const [repaired] = await daemon.json(["audit", "store"]);
  expect(repaired).toMatchObject({ verdict: "repaired", changed: "1" });
  expect(repaired.differences).toMatchObject([{ key: { text: "greeting" }, kind: "changed" }]);
  expect((await daemon.cli(["get", "greeting"])).stdout).toBe("hello\n");
  expect(await daemon.json(["audit", "--last"])).toMatchObject([{ verdict: "repaired" }]);
  expect(await daemon.json(["gaps"])).toMatchObject([{ reason: "replica-differed" }]);
  const [status] = await daemon.json(["status"]);
  expect(status.streams).toMatchObject([
    { name: "store", gaps: "1", state: "live", lastAudit: { verdict: "repaired", differences: "1" } },
  ]);
  expect((await daemon.cli(["status"])).stdout).toMatch(
    /audit +repaired (just now|.* ago), 1 difference.* \(see `tidemark audit --last`\)/,
  );
  const metrics = await (await fetch(`${daemon.http}/metrics`)).text();
  expect(metrics).toContain('tidemark_audits_total{stream="store",verdict="repaired"} 1');
  const unknown = await daemon.cli(["audit", "nothing"]);
  expect(unknown.stderr).toMatch(/No stream nothing is followed that can be audited; there is store\./);
  expect(await daemon.stop("SIGTERM")).toBe(0);
});

test("a setting of upkeep that cannot be is refused with what it must be", async () => {
  const folder = testFolder();
  const config = join(folder, "tidemark.config.json");
  writeFileSync(config, JSON.stringify({ audit: { everyMs: 5 }, retention: { forMs: 1 } }));
  const { exitCode, stderr } = await tidemark(["up", "--data", folder, "--config", config]);
  expect(exitCode).not.toBe(0);
  expect(stderr).toContain("`audit.everyMs` must be 0, or at least 1000 milliseconds, got number 5.");
  expect(stderr).toContain("`retention.forMs` is not a setting.");
});
