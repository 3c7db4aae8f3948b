import type Database from "better-sqlite3";
import type { ObjectState } from "./decide.ts";

/** An object on its way into the database. */
export interface CachedObject extends ObjectState {
  /** Bytes of its key as long as it has no row. */
  newKey: Buffer | undefined;
  isDirty: boolean;
}

const keysPerLookup = 64;

type LookupRow = [
  key: Buffer,
  id: number,
  head: number,
  isDeleted: number,
  seen: string | null,
  level: number,
  epoch: number,
  version: string,
];

/** Finds objects by their keys, 64 at a time. */
export class ObjectLookup {
  readonly #statement: Database.Statement<unknown[], LookupRow>;

  constructor(db: Database.Database) {
    const places = Array.from({ length: keysPerLookup }, () => "?").join(", ");
    this.#statement = db
      .prepare<unknown[], LookupRow>(
        `SELECT o.key, o.id, o.head, o.is_deleted, o.seen, v.level, v.epoch, v.version
         FROM objects o JOIN versions v ON v.pos = o.head WHERE o.stream = :stream AND o.key IN (${places})`,
      )
      .raw();
  }

  find(stream: number, keys: readonly Buffer[], found: (key: string, object: CachedObject) => void): void {
    for (let from = 0; from < keys.length; from += keysPerLookup) {
      const some: (Buffer | null)[] = keys.slice(from, from + keysPerLookup);
      while (some.length < keysPerLookup) some.push(null);
      for (const [key, id, head, isDeleted, seen, level, epoch, version] of this.#statement.all(some, { stream })) {
        found(key.toString("latin1"), {
          id,
          head,
          level,
          epoch,
          version,
          seen: seen ?? version,
          isDeleted: isDeleted === 1,
          newKey: undefined,
          isDirty: false,
        });
      }
    }
  }
}

/**
 * The objects of one stream that were touched last, by key (as Latin-1 text, so any bytes). Two generations: when the
 * young one is full, it becomes the old one and what was not touched since is forgotten.
 */
export class ObjectCache {
  readonly #maxYoung: number;
  #young = new Map<string, CachedObject>();
  #old = new Map<string, CachedObject>();
  /** Every object of the stream is here, so a key that is not found is new. */
  isComplete: boolean;

  constructor(options: { readonly maxObjects: number; readonly isComplete: boolean }) {
    this.#maxYoung = Math.ceil(options.maxObjects / 2);
    this.isComplete = options.isComplete;
  }

  get(key: string): CachedObject | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.#young.set(key, old);
    return old;
  }

  /** Whether the next `count` additions would forget objects: those must be in the database by then. */
  willForget(count: number): boolean {
    return this.#young.size + count > this.#maxYoung;
  }

  /** Makes room. Nothing dirty may be in it. */
  forget(): void {
    if (this.#old.size > 0) this.isComplete = false;
    this.#old = this.#young;
    this.#young = new Map();
  }

  set(key: string, object: CachedObject): void {
    this.#young.set(key, object);
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.isComplete = false;
  }
}
