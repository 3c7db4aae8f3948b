import fc from "fast-check";
import type { Frame } from "../../src/contract.ts";
import { at, begin, discard, reset } from "./helpers.ts";

// A source that is watched: what it does, the frames that tell of it, and, worked out from what it did, the history that
// must come of them.

export type Step =
  | { readonly type: "transaction"; readonly writes: readonly Write[]; readonly poison: number }
  | {
      readonly type: "broken";
      readonly writes: readonly Write[];
      readonly restart: "discard" | "snapshot" | "progress";
    }
  | { readonly type: "replay"; readonly back: number }
  | { readonly type: "lost"; readonly transactions: readonly (readonly Write[])[]; readonly abandoned: number }
  | { readonly type: "replaced"; readonly keep: number; readonly says: "reset" | "gap" | "both" | "nothing" }
  | { readonly type: "idle" }
  | { readonly type: "stale-snapshot" };

interface Write {
  readonly key: number;
  /** Undefined deletes. */
  readonly value: number | undefined;
}

const write: fc.Arbitrary<Write> = fc.record({
  key: fc.nat({ max: 7 }),
  value: fc.option(fc.nat({ max: 3 }), { nil: undefined, freq: 3 }),
});
const writes = fc.array(write, { minLength: 1, maxLength: 6 });

export const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ type: fc.constant("transaction" as const), writes, poison: fc.nat({ max: 20 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("broken" as const),
      writes,
      restart: fc.constantFrom("discard" as const, "snapshot" as const, "progress" as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("replay" as const), back: fc.nat({ max: 10 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("lost" as const),
      transactions: fc.array(writes, { maxLength: 3 }),
      abandoned: fc.nat({ max: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("replaced" as const),
      keep: fc.nat({ max: 255 }),
      says: fc.constantFrom("reset" as const, "gap" as const, "both" as const, "nothing" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("idle" as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("stale-snapshot" as const) }) },
);

/** One version as it must be in the history of its key: `epoch via version cursor value`. */
export type Expected = string;

interface Known {
  /** Undefined: a tombstone. */
  value: string | undefined;
  version: string;
  epoch: number;
}

// Every byte that is difficult somewhere: the empty key, 0x00, 0xff, quotes, a wildcard.
const keys = ["", "\0", "\xff", "a", "a\0", "a'b%", "\xff\xff", "é/ü"];
// Versions and cursors are of one kind, as they are in a store with revisions: the cursor comes after its changes.
const cursorOf = (revision: number) => at(revision * 100 + 99);
const commit = (revision: number): Frame => ({ type: "commit", cursor: cursorOf(revision) });
const progress = (revision: number): Frame => ({ type: "progress", cursor: cursorOf(revision) });
const end = (revision: number): Frame => ({ type: "snapshot-end", cursor: cursorOf(revision) });

// The last is larger than a page, so its row spills.
const values = ["", "\0\xff", "plain", "x".repeat(5000)];

export class Script {
  readonly frames: Frame[] = [];
  readonly expected = new Map<string, Expected[]>();
  readonly gaps: string[] = [];
  quarantined = 0;
  /** What the replica shows. */
  readonly known = new Map<string, Known>();
  readonly #isVersioned: boolean;
  #source = new Map<string, { value: string; version: string }>();
  #epoch = 1;
  #revision = 1;
  /** What was emitted for each revision of this epoch, for replays. */
  #emitted = new Map<number, Frame[]>();

  constructor(options: { readonly isVersioned: boolean }) {
    this.#isVersioned = options.isVersioned;
    this.#snapshot();
  }

  get cursor(): string {
    return cursorOf(this.#revision);
  }

  get epoch(): string {
    return `epoch ${this.#epoch}`;
  }

  run(step: Step): void {
    switch (step.type) {
      case "transaction":
        this.#transaction(step.writes, step.poison);
        break;
      case "broken":
        this.#broken(step);
        break;
      case "replay":
        if (!this.#isVersioned) break;
        for (let revision = Math.max(1, this.#revision - step.back); revision <= this.#revision; revision++) {
          this.frames.push(...(this.#emitted.get(revision) ?? [progress(revision)]));
        }
        break;
      case "lost":
        this.#lost(step);
        break;
      case "replaced":
        this.#replaced(step);
        break;
      case "idle":
        this.#revision++;
        this.frames.push(progress(this.#revision));
        break;
      case "stale-snapshot":
        // Something that was asked earlier answers late.
        if (this.#isVersioned && this.#revision > 1) {
          this.frames.push(begin(this.epoch), this.#put("a", "late", at(1)), end(this.#revision - 1));
        }
        break;
    }
  }

  #transaction(wanted: readonly Write[], poison: number): void {
    this.#revision++;
    const frames: Frame[] = [];
    for (const [index, { key: keyIndex, value: valueIndex }] of wanted.entries()) {
      const key = keys[keyIndex] as string;
      const value = valueIndex === undefined ? undefined : (values[valueIndex] as string);
      const version = this.#version(index);
      this.#write(key, value, version);
      if (index === poison && value !== undefined) {
        frames.push({ type: "poison", key: raw(key), raw: raw(value), error: "cannot decode", version });
        this.quarantined++;
        continue;
      }
      frames.push(value === undefined ? this.#remove(key, version) : this.#put(key, value, version));
      this.#expectChange(key, value, version, "stream");
    }
    frames.push(commit(this.#revision));
    this.#emitted.set(this.#revision, frames);
    this.frames.push(...frames);
  }

  /** A group that breaks off: the connection is lost within it, and it comes again whole, or never. */
  #broken(step: Step & { readonly type: "broken" }): void {
    for (const [index, { key, value }] of step.writes.entries()) {
      const version = at((this.#revision + 1) * 100 + index);
      const name = keys[key] as string;
      this.frames.push(value === undefined ? this.#remove(name, version) : this.#put(name, `broken ${value}`, version));
    }
    if (step.restart === "progress") this.frames.push(progress(this.#revision + 1));
    if (step.restart === "snapshot") this.#snapshot();
    else this.frames.push(discard);
  }

  #lost(step: Step & { readonly type: "lost" }): void {
    const from = this.#revision;
    for (const writes of step.transactions) {
      this.#revision++;
      for (const [index, { key, value }] of writes.entries()) {
        this.#write(keys[key] as string, value === undefined ? undefined : values[value], this.#version(index));
      }
    }
    if (step.transactions.length > 0) {
      this.frames.push({
        type: "gap",
        reason: "compacted",
        detail: "compacted",
        from: cursorOf(from),
        to: this.cursor,
      });
      this.gaps.push(`compacted ${cursorOf(from)} ${this.cursor}`);
    }
    for (let round = 0; round < step.abandoned; round++) {
      this.frames.push(begin(this.epoch), this.#put("a", "abandoned", at(999_999)));
    }
    this.#snapshot();
  }

  #replaced(step: Step & { readonly type: "replaced" }): void {
    const cursor = this.cursor;
    this.#epoch++;
    this.#emitted = new Map();
    // Some keys survive, with versions that are lower than before.
    const kept = [...this.#source].filter((_, index) => (step.keep & (1 << index)) !== 0);
    this.#revision = 1;
    this.#source = new Map(kept.map(([key, { value }], index) => [key, { value, version: this.#version(index) }]));
    if (step.says === "gap" || step.says === "both") {
      this.frames.push({ type: "gap", reason: "epoch-changed", detail: "replaced", from: cursor });
    }
    if (step.says === "reset" || step.says === "both") this.frames.push(reset(this.epoch));
    // Recorded once, whoever says it.
    this.gaps.push(`epoch-changed ${cursor} `);
    this.#snapshot();
  }

  #snapshot(): void {
    this.frames.push(begin(this.epoch));
    for (const [key, { value, version }] of this.#source) {
      this.frames.push(this.#put(key, value, version));
      const known = this.known.get(key);
      const isSame =
        known?.value !== undefined &&
        (this.#isVersioned ? known.epoch === this.#epoch && known.version === version : known.value === value);
      if (!isSame) this.#expect(key, value, version, "snapshot");
    }
    for (const [key, { value }] of this.known) {
      if (value !== undefined && !this.#source.has(key)) this.#expect(key, undefined, this.cursor, "sweep");
    }
    this.frames.push(end(this.#revision));
  }

  #write(key: string, value: string | undefined, version: string): void {
    if (value === undefined) this.#source.delete(key);
    else this.#source.set(key, { value, version });
  }

  #expectChange(key: string, value: string | undefined, version: string, via: string): void {
    const known = this.known.get(key);
    if (value === undefined && known?.value === undefined) return;
    if (!this.#isVersioned && known?.value !== undefined && known.value === value) return;
    this.#expect(key, value, version, via);
  }

  #expect(key: string, value: string | undefined, version: string, via: string): void {
    this.known.set(key, { value, version, epoch: this.#epoch });
    const shown = this.#isVersioned ? version : "-";
    const line = `${this.epoch} ${via} ${shown} ${this.cursor} ${value === undefined ? "deleted" : `=${value}`}`;
    this.expected.set(key, [...(this.expected.get(key) ?? []), line]);
  }

  #version(index: number): string {
    return at(this.#revision * 100 + index);
  }

  #put(key: string, value: string, version: string): Frame {
    return { type: "change", key: raw(key), value: raw(value), ...(this.#isVersioned && { version }) };
  }

  #remove(key: string, version: string): Frame {
    return { type: "change", key: raw(key), value: undefined, ...(this.#isVersioned && { version }) };
  }
}

const raw = (text: string) => new Uint8Array(Buffer.from(text, "latin1"));
