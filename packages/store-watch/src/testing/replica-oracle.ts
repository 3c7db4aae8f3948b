import type { Epoch, Frame } from "../contract.ts";
import { parseSortableInteger } from "../cursor.ts";
import type { GapRecord, History, QuarantineRecord, VersionRecord } from "../history-types.ts";
import { keyId, type ReferenceStore, type StoreChange } from "./reference-store.ts";
import type { SimulatedLoss } from "./simulated-source.ts";

/** What a check may refuse: values that begin with this byte. */
export const poisonByte = 0xff;

/** Whether a value is one that the check of a simulated watcher refuses. */
export const isPoison = (value: Uint8Array | undefined): boolean => value?.[0] === poisonByte;

/** What must be true is not; the message begins with the oracle, such as `O2`. */
export class OracleError extends Error {
  override readonly name = "OracleError";
}

function mustBe(holds: boolean, oracle: string, what: () => string): void {
  if (!holds) throw new OracleError(`${oracle}: ${what()}`);
}

/** A stretch of one epoch that was followed without a break: from a snapshot to the last commit after it. */
interface Segment {
  readonly epoch: Epoch;
  readonly start: Place;
  end: Place;
}

/** Everything up to `revision` and `done` changes of the next. */
interface Place {
  readonly revision: bigint;
  readonly done: number;
}

function placeOf(cursor: string): Place {
  const [revision = "", done] = cursor.split(".");
  return {
    revision: parseSortableInteger(revision),
    done: done === undefined ? 0 : Number(parseSortableInteger(done)),
  };
}

/** Follows what was committed, frame by frame, and knows which stretches of the source's history that covers. */
export class CommitLog {
  readonly segments: Segment[] = [];
  /** Of the last boundary, monotone within an epoch: what the durable cursor must be. */
  cursor: string | undefined;
  epoch: Epoch | undefined;
  #snapshotEpoch: Epoch | undefined;
  /** The greatest version of the group that is open. */
  #newest: string | undefined;

  /** The stream was opened again: what was staged of an open group is discarded. */
  reopened(): void {
    this.#newest = undefined;
  }

  add(frames: readonly Frame[]): void {
    for (const frame of frames) {
      switch (frame.type) {
        case "begin-snapshot":
          this.#snapshotEpoch = frame.epoch;
          this.#newest = undefined;
          break;
        case "snapshot-end": {
          const epoch = this.#snapshotEpoch as Epoch;
          const start = placeOf(frame.cursor);
          this.segments.push({ epoch, start, end: start });
          this.#newest = undefined;
          this.#move(epoch, frame.cursor);
          break;
        }
        case "commit":
          // Data that is committed and not covered by the cursor it is committed with.
          mustBe(
            this.#newest === undefined || isCovered(this.#newest, placeOf(frame.cursor)),
            "O4",
            () => `version ${this.#newest} is committed, but the cursor is ${frame.cursor}`,
          );
          this.#newest = undefined;
          this.#goOn(frame.cursor);
          break;
        case "progress":
          this.#goOn(frame.cursor);
          break;
        case "change":
        case "poison":
          if (frame.version !== undefined && frame.version > (this.#newest ?? "")) this.#newest = frame.version;
          break;
        case "reset":
          // Cursors from before mean nothing in it.
          if (frame.epoch !== this.epoch) this.cursor = undefined;
          this.epoch = frame.epoch;
          this.#newest = undefined;
          break;
        case "gap":
        case "discard":
          this.#newest = undefined;
          break;
      }
    }
  }

  #goOn(cursor: string): void {
    const segment = this.segments.at(-1);
    if (segment === undefined) throw new OracleError("O2: something was committed before the first snapshot");
    this.#move(segment.epoch, cursor);
    segment.end = placeOf(this.cursor as string);
  }

  #move(epoch: Epoch, cursor: string): void {
    if (this.epoch !== epoch || this.cursor === undefined || cursor > this.cursor) this.cursor = cursor;
    this.epoch = epoch;
  }
}

function isCovered(version: string, { revision, done }: Place): boolean {
  const [of = "", index = ""] = version.split(".");
  const own = parseSortableInteger(of);
  return own <= revision || (own === revision + 1n && Number(parseSortableInteger(index)) < done);
}

interface Expected {
  readonly kind: "put" | "delete";
  readonly value: string | undefined;
  readonly epoch: Epoch;
  /** Of the source; undefined for a tombstone that a snapshot made. */
  readonly version: string | undefined;
}

interface Refused {
  readonly key: string;
  readonly value: string;
  readonly epoch: Epoch;
  readonly version: string;
}

const text = (value: Uint8Array | undefined) => (value === undefined ? undefined : Buffer.from(value).toString("hex"));

/** What the history must hold: the store's own history, restricted to the stretches that were followed. */
function expectedHistory(store: ReferenceStore, segments: readonly Segment[]) {
  const keys = new Map<string, Expected[]>();
  const refused: Refused[] = [];
  const versionsOf = (id: string) => {
    const known = keys.get(id) ?? [];
    keys.set(id, known);
    return known;
  };
  const take = (change: StoreChange, epoch: Epoch) => {
    if (isPoison(change.value)) {
      refused.push({ key: change.id, value: text(change.value) as string, epoch, version: change.version });
      return;
    }
    const known = versionsOf(change.id);
    const head = known.at(-1);
    if (head?.epoch === epoch && head.version === change.version) return;
    // Its value was refused, so there is nothing here that could be deleted.
    if (change.value === undefined && head?.kind !== "put") return;
    const kind = change.value === undefined ? "delete" : "put";
    known.push({ kind, value: text(change.value), epoch, version: change.version });
  };
  for (const { epoch, start, end } of segments) {
    const truth = store.history(epoch);
    const state = new Map<string, StoreChange>();
    for (const { changes } of truth.slice(0, Number(start.revision))) {
      for (const change of changes) {
        if (change.value === undefined) state.delete(change.id);
        else state.set(change.id, change);
      }
    }
    for (const change of state.values()) take(change, epoch);
    for (const [id, known] of keys) {
      if (!state.has(id) && known.at(-1)?.kind === "put") {
        known.push({ kind: "delete", value: undefined, epoch, version: undefined });
      }
    }
    for (const { revision, changes } of truth.slice(Number(start.revision))) {
      if (revision > end.revision + 1n) break;
      const covered = revision <= end.revision ? changes : changes.slice(0, end.done);
      for (const change of covered) take(change, epoch);
    }
  }
  return { keys, refused };
}

/** What an audit looks at. */
export interface ReplicaAudit {
  readonly store: ReferenceStore;
  readonly history: History;
  readonly stream: string;
  readonly log: CommitLog;
  readonly losses: readonly SimulatedLoss[];
  readonly isVersioned: boolean;
  readonly isTransactional: boolean;
}

/** Everything that must be true once faults have stopped and the watcher caught up. @throws {OracleError} */
export async function auditReplica({
  store,
  history,
  stream,
  log,
  losses,
  isVersioned,
  isTransactional,
}: ReplicaAudit): Promise<void> {
  const last = log.segments.at(-1);
  mustBe(last?.epoch === store.epoch, "O6", () => `the store is at ${store.epoch}, the history at ${last?.epoch}`);
  mustBe(
    last?.end.revision === store.revision,
    "O6",
    () => `the store is at ${store.revision}, not ${last?.end.revision}`,
  );

  const { keys, refused } = expectedHistory(store, log.segments);
  const live = (await all((after) => history.list({ stream }, { limit: 10_000, ...after }))).items;
  const replica = new Map(live.map((record) => [keyId(record.key), text(record.value)]));
  for (const change of store.state()) {
    if (isPoison(change.value)) continue;
    const found = replica.get(change.id);
    mustBe(
      found === text(change.value),
      "O1",
      () => `${change.id} is ${text(change.value)}, the replica says ${found}`,
    );
  }
  const inStore = new Set(store.state().map(({ id }) => id));
  for (const id of replica.keys()) mustBe(inStore.has(id), "O1", () => `${id} is deleted, but the replica has it`);

  for (const [id, wanted] of keys) {
    const key = Buffer.from(id, "hex");
    const { items } = await history.log(stream, key, { limit: 10_000 });
    const got = [...items].reverse().map(
      ({ kind, value, epoch, version, via }): Expected => ({
        kind,
        value: text(value),
        epoch,
        version: via === "sweep" || !isVersioned ? undefined : version,
      }),
    );
    const expected = isVersioned ? wanted : withoutVersions(wanted);
    const at = expected.findIndex((each, index) => show(each) !== show(got[index]));
    const differ = at < 0 ? expected.length : at;
    mustBe(at < 0 && got.length === expected.length, "O2", () => {
      const [from, to] = [Math.max(0, differ - 1), differ + 2];
      return `${id} at ${differ} should be\n${show(expected.slice(from, to))}\nand is\n${show(got.slice(from, to))}`;
    });
    if (isTransactional) mustBeWhole(items, store);
  }
  const known = await all((after) => history.list({ stream }, { limit: 10_000, includeDeleted: true, ...after }));
  for (const { key } of known.items) {
    mustBe(keys.get(keyId(key)) !== undefined, "O2", () => `${keyId(key)} was never there`);
  }
  mustBeGaps(await history.gaps(stream), log.segments, losses);
  mustBeRefused(await history.quarantine(stream, { includeResolved: true }), refused, isVersioned);
}

/** An equal value is no new version where the source has none, also in another epoch. */
function withoutVersions(versions: readonly Expected[]): Expected[] {
  const kept: Expected[] = [];
  for (const { kind, value, epoch } of versions) {
    const head = kept.at(-1);
    if (head?.kind === kind && head.value === value) continue;
    kept.push({ kind, value, epoch, version: undefined });
  }
  return kept;
}

/** V7: changes of one transaction share a batch. */
function mustBeWhole(items: readonly VersionRecord[], store: ReferenceStore): void {
  const batches = new Map<string, bigint>();
  for (const { via, version, batch, epoch } of items) {
    if (via !== "stream" || store.epoch !== epoch) continue;
    const revision = `${epoch} ${version.split(".")[0]}`;
    const other = batches.get(revision) ?? batch;
    mustBe(other === batch, "V7", () => `transaction ${revision} is in the batches ${other} and ${batch}`);
    batches.set(revision, batch);
  }
}

/** Gaps are exactly between stretches, and each was a loss that the source could not help. */
function mustBeGaps(gaps: readonly GapRecord[], segments: readonly Segment[], losses: readonly SimulatedLoss[]): void {
  const cuts = segments.slice(1).map((_, index) => (segments[index] as Segment).end);
  const isAt = ({ from }: GapRecord, cut: Place) => {
    const place = from === undefined ? undefined : placeOf(from);
    return place?.revision === cut.revision && place.done === cut.done;
  };
  for (const [index, cut] of cuts.entries()) {
    mustBe(
      gaps.some((gap) => isAt(gap, cut)),
      "O2",
      () => `changes after ${cut.revision} of ${segments[index]?.epoch} were lost, but no gap says so: ${show(gaps)}`,
    );
  }
  for (const gap of gaps) {
    mustBe(
      cuts.some((cut) => isAt(gap, cut)),
      "O2",
      () => `the gap after ${gap.from} is not where anything was lost`,
    );
    mustBe(
      losses.some(({ reason, from }) => reason === gap.reason && from === gap.from),
      "O2",
      () => `the source could have gone on at ${gap.from}, but there is a gap "${gap.reason}"`,
    );
  }
}

/** O5: what the check refused is in quarantine, and nothing else. */
function mustBeRefused(records: readonly QuarantineRecord[], refused: readonly Refused[], isVersioned: boolean): void {
  const name = (key: string, value: string | undefined, epoch: string, version: string | undefined) =>
    isVersioned ? `${key} ${value} ${epoch} ${version}` : `${key} ${value} ${epoch}`;
  const wanted = new Set(refused.map(({ key, value, epoch, version }) => name(key, value, epoch, version)));
  const got = new Set(records.map(({ key, value, epoch, version }) => name(keyId(key), text(value), epoch, version)));
  for (const each of wanted) mustBe(got.has(each), "O5", () => `${each} was refused, but it is not in quarantine`);
  for (const each of got) mustBe(wanted.has(each), "O5", () => `${each} is in quarantine, but it was not refused`);
}

async function all<T>(page: (after: { after?: string }) => Promise<{ items: readonly T[]; next: string | undefined }>) {
  const items: T[] = [];
  let next: string | undefined;
  do {
    const got = await page(next === undefined ? {} : { after: next });
    items.push(...got.items);
    next = got.next;
  } while (next !== undefined);
  return { items };
}

function show(value: unknown): string {
  const short = (each: unknown) => (typeof each === "string" && each.length > 40 ? `${each.slice(0, 40)}…` : each);
  const lines = Array.isArray(value) ? value : [value];
  return lines
    .map((line) => JSON.stringify(line, (_, each: unknown) => (typeof each === "bigint" ? `${each}` : short(each))))
    .join("\n");
}
