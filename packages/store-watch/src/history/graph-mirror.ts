import type { SourceCapabilities } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import { batchKinds } from "./batch-kinds.ts";
import { graphKind } from "./ddl.ts";
import { type Flow, wait } from "./flow.ts";
import type { GraphEdits } from "./graph-edits.ts";
import type { GraphNames } from "./graph-names.ts";
import type { GraphRow, GraphTables, ObjectRow } from "./graph-tables.ts";
import type { GraphEdit, GraphIngested, StoreResult, StoreTransaction, StoreWrite } from "./graph-types.ts";
import { type MirrorTables, type SourceChange, type StoreView, unseen } from "./mirror-tables.ts";
import * as views from "./store-view.ts";
import type { StreamState } from "./stream-state.ts";

/** Changes of the store that are taken over in one transaction, about. */
const changesAtOnce = 1000;
/** Log positions that are searched for them in one transaction. */
const positionsAtOnce = 50_000;
/** Transactions of the store at once, without a limit. */
const defaultTransactions = 500;

const nothing: GraphIngested = { versions: 0, echoes: 0, isEnd: true };

/**
 * Keeps a graph and a watched store alike. What the store's stream brings is an edit made from what the store showed
 * before, unless it is what was written there from the graph. What the graph shows and the store does not is to be written,
 * on the condition that the store still has what it is known to have.
 */
export class GraphMirror {
  readonly #edits: GraphEdits;
  readonly #tables: GraphTables;
  readonly #mirrors: MirrorTables;
  readonly #names: GraphNames;
  readonly #state: StreamState;
  /** Undefined: not known. */
  #isMirrored: boolean | undefined;

  constructor(parts: {
    readonly edits: GraphEdits;
    readonly tables: GraphTables;
    readonly mirrors: MirrorTables;
    readonly names: GraphNames;
    readonly state: StreamState;
  }) {
    this.#edits = parts.edits;
    this.#tables = parts.tables;
    this.#mirrors = parts.mirrors;
    this.#names = parts.names;
    this.#state = parts.state;
    this.#edits.onMove = this.#touch.bind(this);
  }

  /** A transaction failed: what is remembered may not be so. */
  forget(): void {
    this.#isMirrored = undefined;
  }

  start(source: string, nowMs: number): Flow<void> {
    return this.#edits.commit(nowMs, this.#start.bind(this, source));
  }

  *#start(source: string): Flow<void> {
    const mirrors = this.#mirrors;
    const name = JSON.stringify(source);
    const stream = yield* wait(mirrors.sourceByName(source));
    if (stream === undefined) {
      throw new StoreWatchError("NOT_FOUND", `there is no stream ${name} in this history to mirror`);
    }
    if (stream.kind === graphKind) {
      throw new StoreWatchError("OPTIONS_INVALID", `${name} is a graph, expected the stream of a store`);
    }
    if (!(JSON.parse(stream.capabilities) as SourceCapabilities).versioned) {
      throw new StoreWatchError(
        "OPTIONS_INVALID",
        `the store of ${name} gives its values no versions, so nobody can tell whether they were replaced`,
      );
    }
    const known = yield* wait(mirrors.mirrored(this.#state.id));
    if (known === undefined) {
      yield* wait(mirrors.start(this.#state.id, stream.id));
      this.#isMirrored = true;
      return;
    }
    if (known.source !== stream.id) {
      throw new StoreWatchError(
        "OPTIONS_INVALID",
        `the graph mirrors another stream than ${name} already; give this one a graph of its own`,
      );
    }
  }

  ingest(nowMs: number): Flow<GraphIngested> {
    const ingest = this.#ingest.bind(this);
    return this.#edits.commit(nowMs, (now) => ingest(nowMs, now));
  }

  *#ingest(nowMs: number, now: number): Flow<GraphIngested> {
    const mirrors = this.#mirrors;
    const mirrored = yield* wait(mirrors.mirrored(this.#state.id));
    if (mirrored === undefined) return nothing;
    const { source, epoch, cursor, end } = mirrored;
    const to = Math.min(end, mirrored.position + positionsAtOnce);
    let { position } = mirrored;
    const counts = { versions: 0, echoes: 0 };
    const batches = yield* wait(mirrors.nextBatches(position, to, source, changesAtOnce));
    let isWhole = batches.length < changesAtOnce;
    for (const { batch, kind, cursor: at } of batches) {
      if (counts.versions + counts.echoes >= changesAtOnce) {
        isWhole = false;
        break;
      }
      const changes = yield* wait(mirrors.changes(batch));
      yield* this.#readAhead(changes.map(({ key }) => key));
      // What a snapshot found was not made together: it must not win or lose together.
      if (kind !== batchKinds.snapshot) yield* this.#takeOver(changes, at, nowMs, now, counts);
      else for (const one of changes) yield* this.#takeOver([one], at, nowMs, now, counts);
      position = changes.at(-1)?.pos ?? position;
    }
    if (isWhole) position = Math.max(position, to);
    yield* wait(mirrors.reach(this.#state.id, position));
    yield* wait(mirrors.keep(`graph ${this.#state.name}`, position, source, now));
    if (position === end && cursor !== null) yield* this.#expire(cursor, epoch);
    return { ...counts, isEnd: position === end };
  }

  /**
   * The store's stream has come past these writes and did not bring them: they were not made, or a snapshot showed that they
   * are gone again. What it did bring is what the store has.
   */
  *#expire(cursor: string, epoch: number | null): Flow<void> {
    const mirrors = this.#mirrors;
    for (const object of yield* wait(mirrors.passed(this.#state.id, cursor, epoch))) {
      yield* wait(mirrors.save(object, views.passed(yield* wait(mirrors.view(object)), cursor, epoch)));
      yield* wait(mirrors.touch(object));
    }
  }

  storeWrites(nowMs: number, maxTransactions = defaultTransactions): Flow<StoreTransaction[]> {
    return this.#edits.commit(nowMs, this.#storeWrites.bind(this, maxTransactions));
  }

  *#storeWrites(maxTransactions: number): Flow<StoreTransaction[]> {
    const mirrors = this.#mirrors;
    const known = (yield* wait(mirrors.mirrored(this.#state.id)))?.position ?? 0;
    const byBatch = new Map<number, StoreWrite[]>();
    const collect = this.#collect.bind(this);
    for (let head = 0; ; ) {
      const page = yield* wait(mirrors.dirty(this.#state.id, head));
      yield* wait(mirrors.readAhead(page.map(({ object }) => object)));
      yield* wait(this.#tables.readAhead(this.#state.id, { positions: page.map((row) => row.head) }));
      const isFull = yield* collect(page, byBatch, maxTransactions, known);
      const last = page.at(-1);
      if (isFull || last === undefined) break;
      head = last.head;
    }
    for (const { object, want, expected = null } of [...byBatch.values()].flat()) {
      yield* wait(mirrors.save(object, views.attempted(yield* wait(mirrors.view(object)), want, expected)));
    }
    return [...byBatch.values()].map((writes) => ({ writes }));
  }

  /** True: another transaction would be one too many. */
  *#collect(
    page: readonly { readonly object: number; readonly head: number }[],
    byBatch: Map<number, StoreWrite[]>,
    maxTransactions: number,
    known: number,
  ): Flow<boolean> {
    for (const { object, head } of page) {
      const want = (yield* wait(this.#tables.version(head))) as GraphRow;
      const write = yield* this.#writeOf(object, want, known);
      if (write === undefined) continue;
      // What was made together is written together.
      const together = byBatch.get(want.batch);
      if (together === undefined && byBatch.size === maxTransactions) return true;
      byBatch.set(want.batch, [...(together ?? []), write]);
    }
    return false;
  }

  settle(results: readonly StoreResult[], nowMs: number): Flow<void> {
    return this.#edits.commit(nowMs, this.#settle.bind(this, results));
  }

  *#settle(results: readonly StoreResult[]): Flow<void> {
    const mirrors = this.#mirrors;
    const epoch = (yield* wait(mirrors.mirrored(this.#state.id)))?.epoch ?? null;
    const objects = results.map(({ object }) => object);
    yield* wait(mirrors.readAhead(objects));
    yield* wait(this.#tables.readAhead(this.#state.id, { objects }));
    for (const { object, want, known, version } of results) {
      const view = yield* wait(mirrors.view(object));
      if (version === undefined) {
        yield* wait(mirrors.save(object, views.refused(view, want, known)));
        continue;
      }
      const isPast = view.epoch === epoch && (view.storeVersion ?? "") >= version;
      // The store's stream may have been faster.
      const after = isPast ? views.settled(view, want) : views.written(view, want, version, epoch);
      yield* wait(mirrors.save(object, after));
      if (isAlike(after, yield* wait(this.#tables.objectById(object)))) yield* wait(mirrors.clean(object));
    }
  }

  lose(position: string | undefined, nowMs: number): Flow<void> {
    return this.#edits.commit(nowMs, this.#lose.bind(this, position));
  }

  *#lose(position: string | undefined): Flow<void> {
    const mirrors = this.#mirrors;
    const epoch = (yield* wait(mirrors.mirrored(this.#state.id)))?.epoch ?? null;
    const objects = yield* wait(mirrors.unsettled(this.#state.id));
    yield* wait(mirrors.readAhead(objects));
    const open = new Map<number, StoreView>();
    for (const object of objects) open.set(object, yield* wait(mirrors.view(object)));
    const attempts = [...open.values()].flatMap(({ intents }) => intents.filter(views.isUnsettled));
    yield* wait(this.#tables.readAhead(this.#state.id, { positions: attempts.map(({ version }) => version) }));
    const batches = new Map<number, number>();
    /** With what expected nothing, and what was written together with it: together it is tried again. */
    const waiting = new Set<number>();
    for (const { version, expected } of attempts) {
      const { batch } = (yield* wait(this.#tables.version(version))) as GraphRow;
      batches.set(version, batch);
      if (expected === null) waiting.add(batch);
    }
    const boundOf = (version: number) => (waiting.has(batches.get(version) as number) ? (position ?? null) : null);
    for (const [object, view] of open) yield* wait(mirrors.save(object, views.lost(view, boundOf, epoch)));
  }

  /** One transaction of the store. */
  *#takeOver(
    changes: readonly SourceChange[],
    cursor: string,
    nowMs: number,
    now: number,
    counts: { versions: number; echoes: number },
  ): Flow<void> {
    const last = new Map(changes.map((change) => [change.key.toString("latin1"), change]));
    const edits: GraphEdit[] = [];
    const made: { readonly change: SourceChange; readonly view: StoreView | undefined }[] = [];
    for (const change of last.values()) {
      const object = yield* wait(this.#tables.object(this.#state.id, change.key));
      const shown = object && (yield* this.#recognize(object, change, cursor));
      if (shown?.isEcho === true) {
        counts.echoes++;
        continue;
      }
      const { key, value, attributes } = change;
      const before = shown?.version == null ? undefined : yield* wait(this.#tables.version(shown.version));
      const parents = shown?.version == null ? [] : [yield* this.#names.versionId(before as GraphRow)];
      made.push({ change, view: shown?.view });
      edits.push({ type: "version", key, value: value ?? undefined, attributes: attributes ?? undefined, parents });
    }
    if (edits.length === 0) return;
    const before = this.#edits.position;
    counts.versions += (yield* this.#edits.add(edits, nowMs, now)).versions;
    for (const { change, view = unseen } of made) {
      const object = yield* wait(this.#tables.object(this.#state.id, change.key));
      // A deletion of what is deleted made nothing.
      if (object === undefined) continue;
      // Its stamp is the greatest of all, so it is what is shown.
      const isShown = object.head > before;
      const newest = isShown ? object.head : yield* wait(this.#tables.newestOf(object.id));
      yield* this.#show(object, view, newest > before ? newest : object.head, change);
    }
  }

  /**
   * Whether a change of the store is what was written there, what may have been, or what it showed already; if not, which
   * version it took the place of. Forgets what was to be recognized by this change, or can be no more after it: where it is no
   * echo, that is for the caller to save.
   */
  *#recognize(
    object: ObjectRow,
    change: SourceChange,
    cursor: string,
  ): Flow<{ readonly isEcho: boolean; readonly version: number | null; readonly view: StoreView }> {
    let view = yield* wait(this.#mirrors.view(object.id));
    const isIt = this.#isIt.bind(this);
    if (view.epoch !== null && view.epoch !== change.epoch) view = { ...view, intents: [] };
    // A snapshot has old versions at a later cursor.
    view = views.withoutBounded(view, change.version, cursor);
    let intent = view.intents.find(({ written }) => written === change.version);
    if (intent === undefined) {
      for (const each of view.intents) {
        if (!views.canBe(each, change.version) || !(yield* isIt(each.version, change))) continue;
        intent = each;
        break;
      }
    }
    view = views.withoutWritten(view, change.version);
    if (intent !== undefined) {
      yield* this.#show(object, views.withoutAttempts(view, intent.version), intent.version, change);
      return { isEcho: true, version: intent.version, view };
    }
    view = views.withoutUnknown(view);
    if (view.shown !== null && (yield* isIt(view.shown, change))) {
      yield* this.#show(object, view, view.shown, change);
      return { isEcho: true, version: view.shown, view };
    }
    return { isEcho: false, version: view.shown, view };
  }

  *#isIt(version: number, change: SourceChange): Flow<boolean> {
    return isSame((yield* wait(this.#tables.version(version)))?.value ?? null, change.value);
  }

  *#show(object: ObjectRow, view: StoreView, version: number, change: SourceChange): Flow<void> {
    const after = views.showing(view, version, change.version, change.epoch);
    yield* wait(this.#mirrors.save(object.id, after));
    yield* wait(isAlike(after, object) ? this.#mirrors.clean(object.id) : this.#mirrors.touch(object.id));
  }

  /** What has to be written so that the store shows a version; undefined where it does, or needs not. */
  *#writeOf(object: number, want: GraphRow, known: number): Flow<StoreWrite | undefined> {
    const view = yield* wait(this.#mirrors.view(object));
    const written = views.lastWritten(view);
    const position = written?.version ?? view.shown;
    const shown = position === null ? undefined : yield* wait(this.#tables.version(position));
    const hasNone = shown === undefined || shown.value === null;
    if (hasNone ? want.value === null : isSame(shown.value, want.value)) {
      if (written === undefined && view.shown !== want.pos) {
        yield* wait(this.#mirrors.save(object, views.showing(view, want.pos, view.storeVersion, view.epoch)));
      }
      yield* wait(this.#mirrors.clean(object));
      return undefined;
    }
    return {
      object,
      want: want.pos,
      key: (yield* wait(this.#tables.objectById(object))).key,
      value: want.value ?? undefined,
      attributes: want.attributes ?? undefined,
      expected: hasNone ? undefined : (written?.written ?? view.storeVersion ?? undefined),
      known,
    };
  }

  *#readAhead(keys: readonly Uint8Array[]): Flow<void> {
    yield* wait(this.#tables.readAhead(this.#state.id, { keys }));
    const objects: number[] = [];
    for (const key of keys) {
      const object = yield* wait(this.#tables.object(this.#state.id, key));
      if (object !== undefined) objects.push(object.id);
    }
    yield* wait(this.#mirrors.readAhead(objects));
  }

  /** The head of a key moved. */
  *#touch(object: number): Flow<void> {
    this.#isMirrored ??= (yield* wait(this.#mirrors.mirrored(this.#state.id))) !== undefined;
    if (this.#isMirrored) yield* wait(this.#mirrors.touch(object));
  }
}

/** Whether a graph has nothing to ingest. */
export function* isTakenOver(mirrors: MirrorTables, stream: number): Flow<boolean> {
  const mirrored = yield* wait(mirrors.mirrored(stream));
  if (mirrored === undefined) return true;
  const { position, end, cursor, epoch } = mirrored;
  if (position !== end) return false;
  return cursor === null || (yield* wait(mirrors.passed(stream, cursor, epoch))).length === 0;
}

/** Whether writes have no result, and nobody knows how long they are to be waited for. */
export function* isUnsettled(mirrors: MirrorTables, stream: number): Flow<boolean> {
  return (yield* wait(mirrors.unsettled(stream))).length > 0;
}

/** Whether the store of a graph shows everything, or what it does not was refused and waits. */
export function* isWritten(mirrors: MirrorTables, stream: number): Flow<boolean> {
  return (yield* wait(mirrors.dirty(stream, 0, 1))).length === 0;
}

/** Whether the store has the very version that the graph shows, as far as is known: there is nothing to compare. */
function isAlike(view: StoreView, { head }: ObjectRow): boolean {
  return (views.lastWritten(view)?.version ?? view.shown) === head;
}

function isSame(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other);
}
