import {
  type AppendResult,
  FrameBuffer,
  type Frame,
  type History,
  type HistoryStream,
  sortableInteger,
  StoreWatchError,
  type VersionRecord,
} from "@tidemark/store-watch";
import { type ConformanceCheck, mustBe, rejectionOf } from "./checks.ts";

export interface HistoryConformanceOptions {
  /** Opens a database that has nothing in it at first, and is the same at every call. It is never open twice. */
  open(): Promise<History>;
}

/** One check: a stream of its own, in the database of all. */
class Bench {
  readonly #database: Database;
  readonly stream: string;
  /** The position at which it began: those of the check count from here. */
  readonly base: bigint;

  constructor(database: Database, name: string, base: bigint) {
    this.#database = database;
    this.stream = name;
    this.base = base;
  }

  history(): Promise<History> {
    return this.#database.history();
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  async open(name = this.stream): Promise<HistoryStream> {
    const history = await this.history();
    return history.openStream({ name, kind: "conformance", description: "", scope: "", capabilities });
  }

  /** A position of the history as one of the check. */
  own(position: bigint): bigint {
    return position - this.base;
  }

  /** What is live, as `key=value` in the order of keys. */
  async live(at?: { readonly position?: bigint; readonly cursor?: string }): Promise<string> {
    const history = await this.history();
    const moment = at?.position === undefined ? at : { position: at.position + this.base };
    const { items } = await history.list({ stream: this.stream }, moment === undefined ? {} : { at: moment });
    return items.map(({ key, value }) => `${textOf(key)}=${textOf(value)}`).join(" ");
  }

  /** A key's versions, the oldest first, as `value` or `-`. */
  async versions(key: string): Promise<string> {
    const { items } = await (await this.history()).log(this.stream, bytes(key));
    return items
      .map(({ value }) => textOf(value) ?? "-")
      .reverse()
      .join(" ");
  }
}

/** Opened when it is needed. */
class Database {
  readonly #open: () => Promise<History>;
  #history: History | undefined;

  constructor(open: () => Promise<History>) {
    this.#open = open;
  }

  async history(): Promise<History> {
    this.#history ??= await this.#open();
    return this.#history;
  }

  async close(): Promise<void> {
    const history = this.#history;
    this.#history = undefined;
    await history?.close();
  }
}

const capabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};
const bytes = (text: string): Uint8Array => Buffer.from(text);
const textOf = (value: Uint8Array | undefined) => value && Buffer.from(value).toString();
const at = (revision: number) => sortableInteger(BigInt(revision));

const begin = (epoch = "one"): Frame => ({ type: "begin-snapshot", epoch });
const end = (revision: number): Frame => ({ type: "snapshot-end", cursor: at(revision) });
const commit = (revision: number): Frame => ({ type: "commit", cursor: at(revision) });
const put = (key: string, value: string, revision: number): Frame => ({
  type: "change",
  key: bytes(key),
  value: bytes(value),
  version: at(revision),
});
const remove = (key: string, revision: number): Frame => ({
  type: "change",
  key: bytes(key),
  value: undefined,
  version: at(revision),
});

function append(to: HistoryStream, ...frames: readonly Frame[]): Promise<AppendResult> {
  const buffer = new FrameBuffer();
  for (const frame of frames) buffer.write(frame);
  return to.append(buffer);
}

function mustShow(got: string, wanted: string, what: string): void {
  mustBe(got === wanted, `${what}: expected "${wanted}", got "${got}"`);
}

/**
 * What a history promises (V1 to V9 and its reads) as named checks for the author of one, in the order in which to run them;
 * one at a time, each with a stream of its own. The last one closes the database.
 */
export function historyConformance({ open }: HistoryConformanceOptions): readonly ConformanceCheck[] {
  const database = new Database(open);
  const run = Date.now().toString(36);
  return [
    ...entries.map(({ name, body }, index) => ({
      name,
      run: async () => body(new Bench(database, `check-${run}-${index}`, await (await database.history()).position())),
    })),
    {
      name: "finds nothing wrong with all of this (fsck)",
      async run() {
        const { findings } = await (await database.history()).fsck();
        await database.close();
        mustBe(findings.length === 0, `fsck finds ${findings.map(({ message }) => message).join("; ")}`);
      },
    },
  ];
}

const entries: readonly { readonly name: string; readonly body: (bench: Bench) => Promise<void> }[] = [
  {
    name: "begins with nothing",
    async body(bench) {
      const to = await bench.open();
      mustBe(to.resume === undefined, "a new stream has nowhere to go on from");
      mustShow(await bench.live(), "", "what is live in it");
    },
  },
  {
    name: "V7: shows a group whole or not at all, wherever buffers are cut",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin(), put("a", "1", 1));
      await append(to, put("b", "1", 1));
      mustShow(await bench.live(), "", "what is live within the first snapshot");
      await append(to, end(1), put("a", "2", 2));
      await append(to, put("b", "2", 2));
      mustShow(await bench.live(), "a=1 b=1", "what is live within a transaction");
      await append(to, commit(2));
      mustShow(await bench.live(), "a=2 b=2", "what is live behind it");
    },
  },
  {
    name: "V7: forgets a group that was broken off",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin(), put("a", "1", 1), end(1), put("a", "void", 2), { type: "discard" });
      await append(to, put("b", "2", 2), commit(2));
      mustShow(await bench.live(), "a=1 b=2", "what is live after a group that was discarded");
      mustShow(await bench.versions("a"), "1", "the versions of a key in that group");
    },
  },
  {
    name: "V6: goes on after a restart from the cursor of what is there",
    async body(bench) {
      await append(
        await bench.open(),
        begin(),
        put("a", "1", 1),
        end(1),
        put("a", "2", 2),
        commit(2),
        put("a", "3", 3),
      );
      await bench.close();
      const again = await bench.open();
      mustBe(
        again.resume?.epoch === "one" && again.resume.cursor === at(2),
        `expected to go on from ${at(2)}, got ${JSON.stringify(again.resume)}`,
      );
      mustShow(await bench.live(), "a=2", "what is live after a restart within a group");
    },
  },
  {
    name: "V1: takes the same frames again for what it knows",
    async body(bench) {
      const to = await bench.open();
      const frames = [
        begin(),
        put("a", "1", 1),
        end(1),
        put("a", "2", 2),
        put("b", "2", 2),
        commit(2),
        remove("b", 3),
        commit(3),
      ];
      await append(to, ...frames);
      const history = await bench.history();
      const before = await history.position();
      for (const from of [0, 3, 6]) {
        const { versions, position } = await append(to, ...frames.slice(from));
        mustBe(
          versions === 0 && position === before,
          `frames from ${from} on made ${versions} versions when they came again`,
        );
      }
    },
  },
  {
    name: "V1: takes whatever a new epoch brings for newer",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin("one"), put("a", "old", 50), end(50));
      await append(to, begin("two"), put("a", "new", 3), end(4));
      mustShow(await bench.versions("a"), "old new", "the versions of a key over two epochs");
    },
  },
  {
    name: "V2: links every version to the one before it, one level above it",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin(), put("a", "1", 1), end(1), put("a", "2", 2), commit(2), remove("a", 3), commit(3));
      const { items } = await (await bench.history()).log(bench.stream, bytes("a"));
      const links = items
        .map(
          ({ position, parents, level }) =>
            `${bench.own(position)}<${parents.map((each) => bench.own(each)).join()}@${level}`,
        )
        .join(" ");
      mustShow(links, "3<2@3 2<1@2 1<@1", "positions, parents and levels, the newest first");
    },
  },
  {
    name: "V4, V5: numbers versions densely over all streams, and logs each once",
    async body(bench) {
      const one = await bench.open();
      const two = await bench.open(`${bench.stream}-another`);
      await append(one, begin(), put("a", "1", 1), end(1));
      await append(two, begin("x"), put("a", "1", 1), put("b", "1", 1), end(1));
      await append(one, put("a", "2", 2), commit(2));
      const { items } = await (await bench.history()).changes(bench.base);
      const log = items
        .map(
          (record) =>
            `${bench.own(record.position)}:${record.stream === bench.stream ? "one" : "two"}/${textOf(record.key)}`,
        )
        .join(" ");
      mustShow(log, "1:one/a 2:two/a 3:two/b 4:one/a", "the log");
    },
  },
  {
    name: "V8: keeps a deletion as a version",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin(), put("a", "1", 1), end(1), remove("a", 2), commit(2));
      const history = await bench.history();
      mustBe((await history.get(bench.stream, bytes("a"))) === undefined, "a key that was deleted is still there");
      await append(to, put("a", "2", 3), commit(3));
      mustShow(await bench.versions("a"), "1 - 2", "the versions of a key that was deleted and made again");
    },
  },
  {
    name: "prunes what a snapshot no longer has",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin(), put("a", "1", 1), put("b", "1", 1), end(1));
      await append(to, { type: "gap", reason: "compacted", detail: "for a check" }, begin(), put("a", "1", 1), end(5));
      const history = await bench.history();
      mustShow(await bench.live(), "a=1", "what is live after a snapshot without a key");
      const [last] = (await history.log(bench.stream, bytes("b"))).items as [VersionRecord, ...VersionRecord[]];
      mustBe(
        last.kind === "delete" && last.via === "sweep",
        `expected a deletion by sweep, got ${last.kind} by ${last.via}`,
      );
    },
  },
  {
    name: "records what was lost, where and why",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin(), put("a", "1", 1), end(1));
      await append(
        to,
        { type: "gap", reason: "compacted", detail: "lost", from: at(1), to: at(7) },
        begin(),
        put("a", "1", 1),
        end(7),
      );
      const gaps = await (await bench.history()).gaps(bench.stream);
      const shown = gaps.map(({ reason, detail, from, to: until, position }) =>
        [reason, detail, from, until, bench.own(position)].join(),
      );
      mustShow(shown.join(" "), `compacted,lost,${at(1)},${at(7)},1`, "the gaps on record");
    },
  },
  {
    name: "sets a change aside that cannot be taken, and goes on",
    async body(bench) {
      const to = await bench.open();
      const poison: Frame = { type: "poison", key: bytes("p"), raw: bytes("?"), error: "unreadable", version: at(2) };
      const { quarantined } = await append(to, begin(), put("a", "1", 1), end(1), poison, put("a", "2", 2), commit(2));
      const history = await bench.history();
      mustBe(quarantined === 1, `expected one change in quarantine, got ${quarantined}`);
      mustShow(await bench.live(), "a=2", "what is live beside it");
      const [record] = await history.quarantine(bench.stream);
      mustBe(record !== undefined, "what was set aside is not on record");
      if (record !== undefined) await history.skipQuarantined(record.id, "for a check");
      mustBe((await history.quarantine(bench.stream)).length === 0, "what was skipped is still open");
    },
  },
  {
    name: "shows what was at a position and at a cursor",
    async body(bench) {
      const to = await bench.open();
      await append(
        to,
        begin(),
        put("a", "1", 1),
        put("b", "1", 1),
        end(1),
        put("a", "2", 2),
        commit(2),
        remove("b", 3),
        commit(3),
      );
      const history = await bench.history();
      mustShow(await bench.live({ position: 2n }), "a=1 b=1", "what was live at position 2");
      mustShow(await bench.live({ cursor: at(2) }), "a=2 b=1", "what was live at the second cursor");
      mustShow(await bench.live(), "a=2", "what is live now");
      const { items } = await history.diff({ position: bench.base + 2n }, {}, { stream: bench.stream });
      mustShow(items.map(({ key }) => textOf(key)).join(" "), "a b", "the keys that differ from position 2");
    },
  },
  {
    name: "gives the log in pages, and what comes after it",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin(), put("a", "1", 1), put("b", "1", 1), put("c", "1", 1), end(1));
      const history = await bench.history();
      const seen: bigint[] = [];
      for (let after: string | undefined, isEnd = false; !isEnd; ) {
        const page = await history.changes(bench.base, { limit: 2, ...(after !== undefined && { after }) });
        seen.push(...page.items.map(({ position }) => bench.own(position)));
        after = page.next;
        isEnd = after === undefined;
      }
      mustShow(seen.join(), "1,2,3", "positions over pages of two");
      const followed: bigint[] = [];
      const appending = append(to, put("d", "2", 2), commit(2));
      for await (const records of history.follow(bench.base + 2n)) {
        followed.push(...records.map(({ position }) => bench.own(position)));
        if (followed.length >= 2) break;
      }
      await appending;
      mustShow(followed.join(), "3,4", "positions that were followed from 2 on");
    },
  },
  {
    name: "V9: removes no version that a consumer needs, and says when a position is too old",
    async body(bench) {
      const to = await bench.open();
      await append(to, begin(), put("a", "1", 1), end(1), put("a", "2", 2), commit(2), put("a", "3", 3), commit(3));
      const history = await bench.history();
      await history.setConsumer("reader", bench.base + 1n);
      await history.prune({ before: { position: bench.base + 3n }, stream: bench.stream });
      mustShow(
        (await history.changes(bench.base + 1n)).items.map(({ position }) => bench.own(position)).join(),
        "2,3",
        "what a consumer at 1 gets",
      );
      await history.setConsumer("reader", undefined);
      const { removed } = await history.prune({ before: { position: bench.base + 3n }, stream: bench.stream });
      mustBe(removed > 0, "nothing was removed although nobody needs it any more");
      mustShow(await bench.live(), "a=3", "what is live after that");
      const error = await rejectionOf(history.changes(bench.base));
      mustBe(
        StoreWatchError.is(error) && error.code === "TOO_OLD",
        `expected TOO_OLD for a position below the floor, got ${String(error)}`,
      );
    },
  },
  {
    name: "lets nobody append to a stream that somebody else has opened since, and gives the buffer back",
    async body(bench) {
      const before = await bench.open();
      await append(before, begin(), put("a", "1", 1), end(1));
      const after = await bench.open();
      const error = await rejectionOf(append(before, put("a", "2", 2), commit(2)));
      mustBe(error !== undefined, "the earlier opening could still append");
      const { buffer } = error as { readonly buffer?: FrameBuffer };
      mustBe(buffer?.frames === 2, "the buffer did not come back with the error, whole");
      await append(after, put("a", "3", 3), commit(3));
      mustShow(await bench.versions("a"), "1 3", "the versions of the key");
    },
  },
  {
    name: "keeps keys and values byte for byte, and an empty value",
    async body(bench) {
      const to = await bench.open();
      const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      const large = new Uint8Array(1_000_000).fill(7);
      const change = (key: Uint8Array, value: Uint8Array): Frame => ({ type: "change", key, value, version: at(1) });
      await append(
        to,
        begin(),
        change(all, all),
        change(bytes("large"), large),
        change(bytes("none"), new Uint8Array()),
        end(1),
      );
      const history = await bench.history();
      for (const [key, value] of [
        [all, all],
        [bytes("large"), large],
        [bytes("none"), new Uint8Array()],
      ] as const) {
        const found = await history.get(bench.stream, key);
        const isSame = found?.value !== undefined && Buffer.compare(found.value, value) === 0;
        mustBe(isSame, `a value of ${value.length} bytes is not what was written`);
      }
    },
  },
];
