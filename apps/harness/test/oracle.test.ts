import fc from "fast-check";
import { expect, test } from "vitest";
import { judge, type OracleFinding } from "../src/chaos/oracle.ts";
import type { ReplicaGap, ReplicaVersion } from "../src/chaos/replica.ts";
import { honestScene, type Loose, type Scene } from "./support/honest-follower.ts";

const seeds = fc.integer({ min: 0, max: 1_000_000 });
const kinds = (findings: readonly OracleFinding[]) => new Set(findings.map(({ kind }) => kind));

/** The scene with its history tampered with. */
function tampered({ ledger, replica, store }: Scene, tamper: (loose: Loose) => void): readonly OracleFinding[] {
  const loose: Loose = { versions: [...replica.versions], gaps: [...replica.gaps] };
  tamper(loose);
  return judge({ ledger, store, replica: { ...replica, ...loose } });
}

/** For every seed and every version that there is a chance of. */
function eachVersion(check: (scene: Scene, version: ReplicaVersion, index: number) => void): void {
  fc.assert(
    fc.property(seeds, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (seed, where) => {
      const scene = honestScene(seed);
      const index = Math.floor(where * scene.replica.versions.length);
      check(scene, scene.replica.versions[index] as ReplicaVersion, index);
    }),
    { numRuns: 150 },
  );
}

test("an honest follower has no findings", () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      expect(judge(honestScene(seed))).toEqual([]);
    }),
    // It began when the store had had keys and had none any more, and was compacted later.
    { numRuns: 300, examples: [[872438], [2911], [3730]] },
  );
});

test("a missing version is found, whichever it is", () => {
  eachVersion((scene, version, index) => {
    const findings = tampered(scene, ({ versions }) => versions.splice(index, 1));
    // Without the only version of a snapshot, what follows is what nobody did.
    expect(findings.length).toBeGreaterThan(0);
    if (scene.replica.versions.filter(({ batch }) => batch === version.batch).length > 1) {
      expect(kinds(findings)).toContain("missing");
    }
  });
});

test("a doubled version is found, whichever it is", () => {
  eachVersion((scene, version, index) => {
    const again = { ...version, position: version.position + 0.5 };
    const findings = tampered(scene, ({ versions }) => versions.splice(index + 1, 0, again));
    expect(kinds(findings)).toContain("doubled");
  });
});

test("another value is found, whichever version it is", () => {
  eachVersion((scene, version, index) => {
    const other = { ...version, value: version.value === undefined ? "alive" : undefined };
    const findings = tampered(scene, ({ versions }) => versions.splice(index, 1, other));
    expect(findings.length).toBeGreaterThan(0);
  });
});

test("a version that nobody wrote is found", () => {
  eachVersion((scene, version, index) => {
    const invented = { ...version, key: "nobody's", position: version.position + 0.5 };
    const findings = tampered(scene, ({ versions }) => versions.splice(index + 1, 0, invented));
    expect(kinds(findings)).toContain("invented");
  });
});

test("a loss without a record is found, whichever it is", () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const scene = honestScene(seed);
      for (const index of scene.replica.gaps.keys()) {
        const findings = tampered(scene, ({ gaps }) => gaps.splice(index, 1));
        expect(kinds(findings), `gap ${index}`).toContain("gap");
      }
    }),
    { numRuns: 100 },
  );
});

test("a record of a loss that was none is found", () => {
  const scene = honestScene(1);
  const [first] = scene.replica.versions.filter(({ via }) => via === "stream");
  const gap: ReplicaGap = { reason: "compacted", detail: "", position: 10_000, from: 10_000n, to: undefined };
  expect(kinds(tampered(scene, ({ gaps }) => gaps.push(gap)))).toContain("gap");
  const lost: ReplicaGap = { ...gap, reason: "source-lost", position: first?.position ?? 0, from: first?.revision };
  expect(kinds(tampered(scene, ({ gaps }) => gaps.unshift(lost)))).toContain("gap");
});

test("a gap that claims to know less than the history does is found", () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const scene = honestScene(seed);
      for (const [index, gap] of scene.replica.gaps.entries()) {
        const wide = { ...gap, from: (gap.from ?? 0n) - 1n };
        const findings = tampered(scene, ({ gaps }) => gaps.splice(index, 1, wide));
        expect(kinds(findings), `gap ${index}`).toContain("invented");
      }
    }),
    { numRuns: 50 },
  );
});

test("a gap that claims to know more than the history does is found", () => {
  const { ledger, replica, store } = honestScene(3);
  const behind = replica.gaps.map((gap) => ({ ...gap, from: gap.from }));
  const last = replica.versions.filter(({ via }) => via === "stream").at(-1) as ReplicaVersion;
  // The last change never came, and the cursor says that it did.
  const versions = replica.versions.filter(({ revision, epoch }) => revision !== last.revision || epoch !== last.epoch);
  const findings = judge({ ledger, store, replica: { ...replica, gaps: behind, versions } });
  expect(kinds(findings)).toContain("missing");
});

test("a replica that stands still before the end is found", () => {
  const { ledger, replica, store } = honestScene(4);
  const cursor = { epoch: replica.cursor?.epoch ?? "", revision: (replica.cursor?.revision ?? 0n) - 1n };
  expect(judge({ ledger, store, replica: { ...replica, cursor } }).length).toBeGreaterThan(0);
});

test("versions in another order are found", () => {
  const scene = honestScene(5);
  const index = scene.replica.versions.findIndex(
    ({ via, batch }, at, all) =>
      via === "stream" && (all[at + 1]?.batch ?? batch) !== batch && all[at + 1]?.via === "stream",
  );
  const findings = tampered(scene, ({ versions }) => {
    const [a, b] = [versions[index] as ReplicaVersion, versions[index + 1] as ReplicaVersion];
    versions.splice(index, 2, { ...b, position: a.position }, { ...a, position: b.position });
  });
  expect(kinds(findings)).toContain("order");
});

test("a transaction in two batches, and two in one, are found", () => {
  const scene = honestScene(6);
  const { versions: all } = scene.replica;
  const pair = all.findIndex(({ via, batch }, at) => via === "stream" && all[at + 1]?.batch === batch);
  const torn = tampered(scene, ({ versions }) => {
    const version = versions[pair + 1] as ReplicaVersion;
    versions.splice(pair + 1, 1, { ...version, batch: 10_000 });
  });
  expect(kinds(torn)).toContain("torn");
  const merged = tampered(scene, ({ versions }) => {
    for (const [index, version] of versions.entries()) versions[index] = { ...version, batch: 1 };
  });
  expect(kinds(merged)).toContain("torn");
});

test("what is live is compared with the store, key by key", () => {
  const { ledger, replica, store } = honestScene(7);
  const [key = ""] = store.keys();
  const lacking = new Map(replica.current);
  lacking.delete(key);
  const tooMany = new Map([...replica.current, ["more", { value: "", revision: 1n }]]);
  const stale = new Map([...replica.current, [key, { value: "stale", revision: 1n }]]);
  for (const current of [lacking, tooMany, stale]) {
    expect(kinds(judge({ ledger, store, replica: { ...replica, current } }))).toEqual(new Set(["state"]));
  }
});

test("a store that is not what was done to it is no proof of anything", () => {
  const { ledger, replica, store } = honestScene(8);
  const other = new Map([...store, ["foreign", { value: "", revision: 1n }]]);
  expect(kinds(judge({ ledger, replica, store: other }))).toContain("store");
});
