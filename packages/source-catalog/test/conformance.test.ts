import { rmSync } from "node:fs";
import { join } from "node:path";
import { type CatalogSource, catalogSource } from "@tidemark/source-catalog";
import { type Frame, type FrameSink, parseSortableInteger, type Source } from "@tidemark/store-watch/contract";
import { type ConformanceDriver, sourceConformance } from "@tidemark/store-watch/testing";
import { expect, test } from "vitest";
import { CatalogServer, folder } from "./support.ts";

// The suite's keys and values are bytes; a catalogue has names and JSON. So an entry is `{"id": <hex>, "value": <hex>}`, and
// what the source makes of it is turned back. Nothing else stands between the suite and the source.
const prefix = "/default/bytes/";
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** A source over a state file of its own, and how far it has told. */
class Opened implements Source {
  readonly inner: CatalogSource;
  readonly kind = "catalog";
  readonly description = "a catalogue of bytes";
  readonly scope = "*";
  readonly file: string;
  isRunning = false;
  #told = -1n;
  #isHeld = false;
  #wake = () => {};

  constructor(server: CatalogServer, file: string) {
    this.file = file;
    const catalogs = [
      { name: "bytes", url: `${server.url}/list/bytes`, eventsUrl: `${server.url}/events?after={after}` },
    ];
    this.inner = catalogSource({ catalogs, stateFile: file, everyMs: 1e9, detailTimeoutMs: 50_000 });
  }

  get capabilities() {
    return this.inner.capabilities;
  }

  async run(from: Parameters<Source["run"]>[0], sink: FrameSink, signal: AbortSignal): Promise<void> {
    this.isRunning = true;
    try {
      await this.inner.run(from, this.#over(sink), signal);
    } finally {
      this.isRunning = false;
      this.#wake();
    }
  }

  barrier(signal: AbortSignal) {
    return this.inner.barrier(signal);
  }

  /** One look at the server, and all of it told: or as much as there is room for. */
  async look(): Promise<void> {
    const { cursor } = await this.inner.barrier(AbortSignal.timeout(50_000));
    const wanted = parseSortableInteger(cursor);
    while (this.isRunning && this.#told < wanted && !this.#isHeld) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #over(sink: FrameSink): FrameSink {
    return {
      write: (frame) => {
        if (frame.type === "progress" || frame.type === "commit" || frame.type === "snapshot-end") {
          this.#told = parseSortableInteger(frame.cursor);
          this.#wake();
        }
        const changed = translated(frame);
        return changed === undefined ? true : sink.write(changed);
      },
      ready: async (signal) => {
        this.#isHeld = true;
        this.#wake();
        await sink.ready(signal);
        this.#isHeld = false;
      },
      alive: () => sink.alive(),
      status: (status) => sink.status(status),
    };
  }
}

/** The suite's own key and value; undefined for keys that the source adds. */
function translated(frame: Frame): Frame | undefined {
  if (frame.type !== "change") return frame;
  const key = Buffer.from(frame.key).toString();
  if (!key.startsWith(prefix)) return undefined;
  const value = frame.value && JSON.parse(Buffer.from(frame.value).toString()).entry.value;
  return {
    ...frame,
    key: Buffer.from(key.slice(prefix.length), "hex"),
    value: value === undefined ? undefined : Buffer.from(value as string, "hex"),
  };
}

const { capabilities } = catalogSource({ catalogs: [], stateFile: "none" });
let world: { readonly server: CatalogServer; readonly home: string; readonly opened: Opened[] };

const driver: ConformanceDriver = {
  async apply(operations) {
    for (const { key, value } of operations) {
      if (value === undefined) world.server.entries.get("bytes")?.delete(hex(key));
      else world.server.put("bytes", { id: hex(key), value: hex(value) });
      for (const source of world.opened) if (source.isRunning) await source.look();
    }
  },
  async replace() {
    for (const { file } of world.opened) for (const end of ["", "-wal"]) rmSync(`${file}${end}`, { force: true });
    world.server.entries.get("bytes")?.clear();
  },
};

const checks = sourceConformance({
  timeoutMs: 45_000,
  capabilities,
  driver,
  // Between two looks only the last state is seen.
  isCoalescing: true,
  open: () => {
    // A state file belongs to one source at a time: another one beside it has its own.
    const used = world.opened.filter(({ isRunning }) => isRunning).map(({ file }) => file);
    const file = [0, 1, 2].map((n) => join(world.home, `state${n}.db`)).find((each) => !used.includes(each));
    const source = new Opened(world.server, file ?? "");
    world.opened.push(source);
    return source;
  },
});

for (const { name, skip, run } of checks) {
  test.skipIf(skip !== undefined)(name, async () => {
    const server = await new CatalogServer().listen();
    server.put("bytes");
    world = { server, home: folder(), opened: [] };
    await run();
  });
}

test("what the source cannot do is not checked, and nothing else", () => {
  const skipped = checks.filter(({ skip }) => skip !== undefined).map(({ name }) => name);
  expect(skipped).toEqual([
    "gives every change of a key a greater version",
    "delivers a transaction as one group",
    "tells that it cannot resume, and starts over",
    "goes on by itself after its connection broke",
    "says when a cursor is too old, and starts over",
  ]);
});
