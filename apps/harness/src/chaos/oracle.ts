import { type EpochPlan, epochPlans, type ExpectedGroup, type ExpectedVersion, expectedOf } from "./expectation.ts";
import { compactionsOf, type Era, type KeyState, type Ledger, lineageOf, stateAt } from "./ledger.ts";
import type { Replica, ReplicaVersion } from "./replica.ts";

export interface OracleFinding {
  readonly kind: /** The store is not what was done to it: the harness itself is wrong, or the store. */
    | "store"
    /** What is live in the replica is not what is live in the store. */
    | "state"
    | "missing"
    | "doubled"
    | "different"
    /** The history has what nobody did, or what it says it cannot know. */
    | "invented"
    | "order"
    /** One revision is not one batch. */
    | "torn"
    /** A loss without a record, or a record of a loss that was none. */
    | "gap";
  readonly message: string;
}

export interface OracleInput {
  /** The exact list of what was done. */
  readonly ledger: Ledger;
  readonly replica: Replica;
  /** The store as it is now, read by somebody else than the replica's writer. */
  readonly store: ReadonlyMap<string, KeyState>;
}

/** More of one kind say nothing new. */
const maxFindingsOfKind = 20;

/**
 * Compares a replica with the exact list of what was done: what is live, every version of the history, its order, the
 * boundaries of transactions, and that exactly those gaps are recorded which there had to be. Empty: all is well.
 */
export function judge({ ledger, replica, store }: OracleInput): readonly OracleFinding[] {
  const findings: OracleFinding[] = [];
  compareStates("store", "the store", store, "the list of what was done", stateAt(lineageOf(ledger.era)), findings);
  compareStates("state", "the replica", replica.current, "the store", store, findings);
  judgeHistory(ledger, replica, findings);
  const counts = new Map<string, number>();
  return findings.filter(({ kind }) => {
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    return count <= maxFindingsOfKind;
  });
}

function compareStates(
  kind: "store" | "state",
  gotName: string,
  got: ReadonlyMap<string, KeyState>,
  wantedName: string,
  wanted: ReadonlyMap<string, KeyState>,
  findings: OracleFinding[],
): void {
  for (const [key, { value, revision }] of wanted) {
    const found = got.get(key);
    if (found === undefined) findings.push({ kind, message: `${gotName} lacks ${show(key)}, which ${wantedName} has` });
    else if (found.value !== value || found.revision !== revision) {
      const message = `${gotName} has ${show(key)} as of revision ${found.revision}, ${wantedName} as of ${revision}`;
      findings.push({ kind, message: found.value === value ? message : `${message}, with another value` });
    }
  }
  for (const key of got.keys()) {
    if (!wanted.has(key)) findings.push({ kind, message: `${gotName} has ${show(key)}, which ${wantedName} has not` });
  }
}

function judgeHistory(ledger: Ledger, replica: Replica, findings: OracleFinding[]): void {
  const plans = epochPlans(replica);
  const changes = replica.gaps.filter(({ reason }) => reason === "epoch-changed").length;
  const epochs = replica.epochs.length;
  if (changes !== Math.max(0, epochs - 1)) {
    findings.push({ kind: "gap", message: `there are ${epochs} epochs and ${changes} gaps of changed epochs` });
  }
  if (epochs > ledger.eras.length) {
    const message = `the history has ${epochs} epochs, but the store had only ${ledger.eras.length} lives`;
    findings.push({ kind: "gap", message });
  }
  let live = new Map<string, KeyState | undefined>();
  let firstEra = 0;
  for (const [index, plan] of plans.entries()) {
    // Versions of an earlier epoch cannot be compared: whatever the new one has is new.
    for (const key of live.keys()) live.set(key, undefined);
    const isLast = index === plans.length - 1;
    const candidates = isLast ? [ledger.era] : ledger.eras.slice(firstEra, -1);
    const best = bestEra(plan, replica, candidates, live) ?? judgeEpoch(plan, replica, ledger.era, live);
    findings.push(...best.findings);
    live = best.live;
    firstEra = ledger.eras.indexOf(best.era) + 1;
  }
  if (plans.length === 0 && lineageOf(ledger.era).length > 0) {
    findings.push({ kind: "missing", message: "the history is empty" });
  }
  const last = ledger.era.entries.reduce((max, { revision }) => (revision > max ? revision : max), 0n);
  const { cursor } = replica;
  if (cursor !== undefined && cursor.revision < last) {
    findings.push({
      kind: "missing",
      message: `the replica stands at ${cursor.revision}, the store went on to ${last}`,
    });
  }
  for (const { position, via } of replica.versions) {
    if (via === "retry") findings.push({ kind: "invented", message: `position ${position} came from a retry` });
  }
}

interface EpochJudgement {
  readonly era: Era;
  readonly findings: readonly OracleFinding[];
  readonly live: Map<string, KeyState | undefined>;
}

/** Which life of the store an epoch followed is not written anywhere: it is the one that it agrees with. */
function bestEra(
  plan: EpochPlan,
  replica: Replica,
  candidates: readonly Era[],
  live: ReadonlyMap<string, KeyState | undefined>,
): EpochJudgement | undefined {
  let best: EpochJudgement | undefined;
  for (const era of candidates) {
    const judgement = judgeEpoch(plan, replica, era, live);
    if (best === undefined || judgement.findings.length < best.findings.length) best = judgement;
    if (best.findings.length === 0) break;
  }
  return best;
}

function judgeEpoch(
  plan: EpochPlan,
  replica: Replica,
  era: Era,
  before: ReadonlyMap<string, KeyState | undefined>,
): EpochJudgement {
  const findings: OracleFinding[] = [];
  const live = new Map(before);
  const expected = expectedOf(plan, era, live);
  const actual = replica.versions.filter(({ epoch }) => epoch === plan.epoch);
  compareVersions(expected, actual, findings);
  compareOrder(actual, plan, findings);
  judgeGaps(plan, era, findings);
  return { era, findings, live };
}

function compareVersions(
  expected: readonly ExpectedGroup[],
  actual: readonly ReplicaVersion[],
  findings: OracleFinding[],
): void {
  const wanted = new Map<string, ExpectedVersion>();
  for (const { revision, kind, versions } of expected) {
    for (const version of versions) wanted.set(idOf(kind, revision, version.key), version);
  }
  const found = new Map<string, ReplicaVersion>();
  for (const version of actual) {
    const id = idOf(version.via === "stream" ? "stream" : "snapshot", version.cursor, version.key);
    const known = found.get(id);
    if (known !== undefined) {
      const message = `${describe(version)} is there twice, at positions ${known.position} and ${version.position}`;
      findings.push({ kind: "doubled", message });
      continue;
    }
    found.set(id, version);
    const want = wanted.get(id);
    if (want === undefined) {
      findings.push({
        kind: "invented",
        message: `${describe(version)} (position ${version.position}) must not be there`,
      });
    } else if (want.value !== version.value || want.revision !== version.revision || want.via !== version.via) {
      const message = `position ${version.position} is ${describe(version)} instead of ${describe(want)}`;
      findings.push({
        kind: "different",
        message: want.value === version.value ? message : `${message}, with another value`,
      });
    }
  }
  for (const [id, version] of wanted) {
    if (!found.has(id)) findings.push({ kind: "missing", message: `${describe(version)} is missing` });
  }
}

function compareOrder(actual: readonly ReplicaVersion[], { epoch }: EpochPlan, findings: OracleFinding[]): void {
  const cursorOf = new Map<number, bigint>();
  const batchOf = new Map<bigint, number>();
  let last: ReplicaVersion | undefined;
  for (const version of actual) {
    const { position, batch, cursor, via, revision } = version;
    if (last !== undefined && (cursor < last.cursor || position <= last.position)) {
      findings.push({
        kind: "order",
        message: `position ${position} is of revision ${cursor}, after ${last.cursor} in ${epoch}`,
      });
    }
    if (last !== undefined && batch !== last.batch && cursorOf.has(batch)) {
      findings.push({ kind: "torn", message: `batch ${batch} is interrupted before position ${position}` });
    }
    if ((cursorOf.get(batch) ?? cursor) !== cursor) {
      findings.push({ kind: "torn", message: `batch ${batch} holds revisions ${cursorOf.get(batch)} and ${cursor}` });
    }
    cursorOf.set(batch, cursor);
    if (via === "stream") {
      if (revision !== cursor) {
        findings.push({ kind: "torn", message: `${describe(version)} was committed with revision ${cursor}` });
      }
      if ((batchOf.get(revision) ?? batch) !== batch) {
        findings.push({
          kind: "torn",
          message: `revision ${revision} is in batches ${batchOf.get(revision)} and ${batch}`,
        });
      }
      batchOf.set(revision, batch);
    }
    last = version;
  }
}

/** Each gap must have had a cause, and each further snapshot a gap. That a gap is not too wide follows from the versions. */
function judgeGaps({ gaps, snapshots }: EpochPlan, era: Era, findings: OracleFinding[]): void {
  const compactions = compactionsOf(era);
  for (const { reason, detail, from } of gaps) {
    if (reason !== "compacted") {
      findings.push({ kind: "gap", message: `nothing happened that could be a gap of kind ${reason}: ${detail}` });
      continue;
    }
    if (from === undefined || !compactions.some((revision) => revision > from)) {
      const message = `a gap from revision ${from} on was recorded, but nothing after it was compacted: ${detail}`;
      findings.push({ kind: "gap", message });
    }
  }
  for (const { blindFrom, revision } of snapshots.slice(1)) {
    if (blindFrom === undefined) {
      findings.push({
        kind: "gap",
        message: `the snapshot at revision ${revision} was taken again, and no gap says why`,
      });
    }
  }
}

function idOf(kind: "stream" | "snapshot", cursor: bigint, key: string): string {
  return `${kind} ${cursor} ${key}`;
}

function describe({ key, value, revision, via }: ExpectedVersion | ReplicaVersion): string {
  const what = value === undefined ? "deletion" : "value";
  return `the ${what} of ${show(key)} of revision ${revision}${via === "stream" ? "" : ` by ${via}`}`;
}

function show(key: string): string {
  return JSON.stringify(key);
}
