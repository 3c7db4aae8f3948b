import { join } from "node:path";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "@tidemark/clock";
import { type AuditEntry, AuditSums } from "../src/audit/audit-sums.ts";
import { auditStream } from "../src/index.ts";
import { openThreadlessHistory } from "../src/testing/threadless-history.ts";
import type { AuditOptions } from "../src/audit/audit-types.ts";
import type { History } from "../src/history-types.ts";
import { plain, temporaryFolder } from "./history/helpers.ts";
import { bytes, scripted, Stage } from "./watcher-stage.ts";

/** A real history in a file that a person can write to, a simulated source, and a watcher between them. */
async function audited(play: (world: World) => Promise<void>, capabilities: { readonly versioned?: boolean } = {}) {
  const file = join(temporaryFolder(), "history.db");
  const history = await openThreadlessHistory({ file, origin: "test", clock: systemClock });
  onTestFinished(() => history.close());
  const stage = new Stage(history, 5);
  await stage.simulation.run(async () => {
    const watcher = await stage.watch({ source: stage.source({ capabilities }) });
    const external: Pick<History, "list" | "quarantine"> = {
      list: (...options) => stage.external(() => history.list(...options)),
      quarantine: (...options) => stage.external(() => history.quarantine(...options)),
    };
    const audit = (more: Partial<AuditOptions> = {}) =>
      auditStream({
        watcher,
        history: external,
        source: stage.source({ capabilities }),
        clock: stage.clock,
        ...more,
      });
    const tamper = (sql: string) => plain(file, (db) => db.exec(`PRAGMA foreign_keys = OFF; ${sql}`));
    await play({ stage, history, watcher, audit, tamper });
    await watcher.close();
  });
}

interface World {
  readonly stage: Stage;
  readonly history: History;
  readonly watcher: Awaited<ReturnType<Stage["watch"]>>;
  audit(more?: Partial<AuditOptions>): ReturnType<typeof auditStream>;
  tamper(sql: string): void;
}

const position = (key: string) => `(SELECT head FROM objects WHERE key = CAST('${key}' AS BLOB))`;

test("a replica that is what its source is has the same checksum, and nothing is touched", () =>
  audited(async ({ stage, audit, watcher }) => {
    for (let key = 0; key < 1_200; key++) stage.put(`k${key}`, `${key}`);
    stage.store.delete(bytes("k7"));
    const first = await audit();
    expect(first).toMatchObject({ verdict: "equal", keys: 1_199, missing: 0, extra: 0, changed: 0, reason: undefined });
    stage.put("k7", "again");
    const second = await audit();
    expect(second).toMatchObject({ verdict: "equal", keys: 1_200 });
    expect(second.checksum).not.toBe(first.checksum);
    expect(watcher.status()).toMatchObject({ gaps: 0, reconnects: 0 });
  }));

test("what somebody changed in the database is found, named, corrected and put on record", () =>
  audited(async ({ stage, audit, tamper, watcher, history }) => {
    for (const key of ["a", "b", "c", "d", "e"]) stage.put(key, key);
    await watcher.waitFor("now");
    tamper(`UPDATE versions SET value = x'00' WHERE pos = ${position("a")}`);
    tamper(`DELETE FROM versions WHERE pos = ${position("b")}; DELETE FROM objects WHERE key = CAST('b' AS BLOB)`);
    tamper("UPDATE objects SET key = CAST('x' AS BLOB) WHERE key = CAST('c' AS BLOB)");
    tamper(`UPDATE versions SET version = 'zzz' WHERE pos = ${position("d")}`);
    const looked = await audit({ isRepaired: false });
    expect(looked).toMatchObject({ verdict: "different", missing: 2, extra: 1, changed: 2, isTruncated: false });
    const named = looked.differences.map(({ key, kind }) => `${Buffer.from(key).toString()} ${kind}`);
    expect(named.toSorted()).toEqual(["a changed", "b missing", "c missing", "d changed", "x extra"]);
    expect((await stage.replica())["x"]).toBe("c");

    const repaired = await audit();
    expect(repaired).toMatchObject({ verdict: "repaired", missing: 2, extra: 1, changed: 2, keys: 5 });
    expect(await stage.replica()).toEqual({ a: "a", b: "b", c: "c", d: "d", e: "e" });
    expect(await stage.external(() => history.gaps(stage.name))).toMatchObject([
      { reason: "replica-differed", detail: "An audit found 2 keys missing, 1 too many and 2 with other contents." },
    ]);
    // What was right got no new version.
    expect(await stage.log("e")).toEqual(["e"]);
    expect(await stage.log("a")).toHaveLength(2);
    // And all of it goes on as before.
    for (const key of ["a", "b", "c", "d"]) stage.put(key, `${key}2`);
    expect(await audit()).toMatchObject({ verdict: "equal" });
    expect(await stage.replica()).toMatchObject({ a: "a2", b: "b2", c: "c2", d: "d2" });
    expect(watcher.status()).toMatchObject({ state: "live", gaps: 1 });
  }));

test("a source without versions is audited by its values", () =>
  audited(
    async ({ stage, audit, tamper, watcher }) => {
      stage.put("a", "1");
      stage.put("b", "2");
      await watcher.waitFor("now");
      expect(await audit()).toMatchObject({ verdict: "equal", keys: 2 });
      tamper(`UPDATE versions SET value = x'00' WHERE pos = ${position("b")}`);
      expect(await audit()).toMatchObject({ verdict: "repaired", changed: 1 });
      expect(await stage.replica()).toEqual({ a: "1", b: "2" });
    },
    { versioned: false },
  ));

test("the source goes on while it is audited, and that is no difference", () =>
  audited(async ({ stage, audit, watcher }) => {
    for (let key = 0; key < 2_000; key++) stage.put(`k${key}`, "0");
    await watcher.waitFor("now");
    let isOver = false;
    const writes = (async () => {
      for (let count = 0; !isOver; count++) {
        stage.put(`k${count % 2_000}`, `${count}`);
        if (count % 10 === 0) stage.store.delete(bytes(`k${(count * 7) % 2_000}`));
        await stage.clock.sleep(1);
      }
    })();
    for (let count = 0; count < 5; count++) {
      expect(await audit()).toMatchObject({ verdict: "equal" });
      await stage.clock.sleep(50);
    }
    isOver = true;
    await writes;
    expect(watcher.status().gaps).toBe(0);
  }));

test("a change in quarantine explains its key, and no repair is tried for it", () =>
  audited(async ({ stage, audit, tamper, watcher }) => {
    stage.put("good", "1");
    stage.put("bad", "1");
    await watcher.waitFor("now");
    tamper(
      "CREATE TRIGGER refuse BEFORE INSERT ON versions WHEN NEW.value = CAST('poison' AS BLOB) BEGIN SELECT RAISE(ABORT, 'refused'); END",
    );
    stage.put("bad", "poison");
    await watcher.waitFor("now");
    expect(watcher.status().quarantined).toBe(1);
    expect(await audit()).toMatchObject({ verdict: "equal", changed: 0, quarantined: 1 });
    expect(watcher.status().gaps).toBe(0);
  }));

test("a change that a person skipped explains its key for as long as the source has it", () =>
  audited(async ({ stage, audit, tamper, watcher, history }) => {
    stage.put("bad", "1");
    await watcher.waitFor("now");
    tamper(
      "CREATE TRIGGER refuse BEFORE INSERT ON versions WHEN NEW.value = CAST('poison' AS BLOB) BEGIN SELECT RAISE(ABORT, 'refused'); END",
    );
    stage.put("bad", "poison");
    await watcher.waitFor("now");
    const [{ id } = { id: 0 }] = await stage.external(() => history.quarantine(stage.name));
    await stage.external(() => history.skipQuarantined(id, "Nobody needs it."));
    for (let count = 0; count < 2; count++) {
      expect(await audit()).toMatchObject({ verdict: "equal", changed: 0, quarantined: 1 });
    }
    expect(watcher.status().gaps).toBe(0);
    // What comes later is not what was skipped.
    stage.put("bad", "2");
    await watcher.waitFor("now");
    tamper(`UPDATE versions SET value = x'00' WHERE pos = ${position("bad")}`);
    expect(await audit()).toMatchObject({ verdict: "repaired", changed: 1, quarantined: 0 });
    expect(await stage.replica()).toEqual({ bad: "2" });
  }));

test("a source that begins anew meanwhile makes an audit inconclusive, not a difference", () =>
  audited(async ({ stage, audit, watcher }) => {
    stage.put("a", "1");
    await watcher.waitFor("now");
    const other = stage.source();
    const report = await audit({
      source: {
        ...scripted(async (sink, signal) => {
          await other.run(undefined, sink, signal).catch(() => {});
          stage.store.wipe();
          stage.put("a", "1");
          signal.throwIfAborted();
        }),
      },
    });
    expect(report).toMatchObject({ verdict: "inconclusive", missing: 0, extra: 0, changed: 0 });
    expect(report.reason).toMatch(/replaced|anew/);
  }));

test("a source that cannot be read fails the audit with what it says", () =>
  audited(async ({ audit }) => {
    const source = scripted(async (sink, signal) => {
      sink.status({ state: "waiting", attempt: 1, delayMs: 10, error: "Nobody answers at 192.0.2.1." });
      signal.throwIfAborted();
    });
    await expect(audit({ source })).rejects.toThrow("Nobody answers at 192.0.2.1.");
    await expect(audit({ source: scripted(async () => {}, { resumable: false }) })).rejects.toThrow(
      "a source of kind scripted cannot be audited: its positions do not last",
    );
  }));

test("a repair that the source interrupts goes on with its next run", () =>
  audited(async ({ stage, history }) => {
    let runs = 0;
    const real = stage.source();
    const watcher = await stage.watch({
      name: "interrupted",
      source: scripted(async (sink, signal, from) => {
        if (++runs === 2) {
          expect(from).toBeUndefined();
          sink.write({ type: "begin-snapshot", epoch: "e" });
          throw new Error("cut");
        }
        await real.run(from, sink, signal);
      }),
    });
    stage.put("a", "1");
    await watcher.waitFor({ epoch: stage.store.epoch, cursor: "" });
    await watcher.repair("It differs.");
    expect(runs).toBe(3);
    expect(watcher.status()).toMatchObject({ state: "live" });
    expect((await stage.external(() => history.gaps("interrupted"))).map(({ reason }) => reason)).toEqual([
      "replica-differed",
    ]);
    const aborted = AbortSignal.abort(new Error("no more time"));
    await expect(watcher.repair("Again.", { signal: aborted })).rejects.toThrow("no more time");
    await watcher.close();
    await expect(watcher.repair("Again.")).rejects.toMatchObject({ code: "CLOSED" });
  }));

test("sums are the same in every order, and differ where a single byte does", () => {
  const text = fc.string({ maxLength: 2 });
  const entry = fc.record({
    key: text.map((key) => Buffer.from(key)),
    value: text.map((value) => Buffer.from(value)),
    version: fc.option(text, { nil: undefined }),
    attributes: fc.option(text, { nil: undefined }),
  });
  const set = fc.uniqueArray(entry, { maxLength: 4, selector: ({ key }) => key.toString() });
  const sumsOf = (entries: readonly AuditEntry[]) => {
    const sums = new AuditSums();
    for (const each of entries) sums.add(each);
    return sums;
  };
  const hex = (part: Uint8Array) => Buffer.from(part).toString("hex");
  const show = (entries: readonly AuditEntry[]) =>
    entries
      .map((each) => JSON.stringify([hex(each.key), hex(each.value), each.version ?? null, each.attributes ?? null]))
      .toSorted()
      .join();
  fc.assert(
    fc.property(set, set, (one, two) => {
      const [first, second] = [sumsOf(one), sumsOf(two)];
      expect(sumsOf(one.toReversed()).differing(first)).toEqual([]);
      const isEqual = show(one) === show(two);
      expect(first.differing(second).length === 0).toBe(isEqual);
    }),
    { numRuns: 50 },
  );
  expect(sumsOf([]).checksum()).not.toBe(
    sumsOf([{ key: bytes("k"), value: bytes(""), version: undefined, attributes: undefined }]).checksum(),
  );
});
