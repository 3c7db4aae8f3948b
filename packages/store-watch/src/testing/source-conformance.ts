import type { ResumePoint, SourceCapabilities } from "../contract.ts";
import { bytesOf, type ConformanceOptions, mustBe, mustEndWith, show, World } from "./conformance-world.ts";
import { keyId } from "./reference-store.ts";

/** One fact that a source has to make true. */
export interface ConformanceCheck {
  readonly name: string;
  /** Why it does not apply; undefined: it does. */
  readonly skip: string | undefined;
  /** Rejects when it is not so. */
  run(): Promise<void>;
}

type Body = (world: World) => Promise<void>;

interface Entry {
  readonly name: string;
  readonly needs?: keyof SourceCapabilities;
  readonly lacks?: keyof SourceCapabilities;
  readonly driver?: "disconnect" | "compact" | "replace";
  readonly body: Body;
}

/**
 * The watch contract as named checks for the author of a source, in the order in which to run them; one at a time. They
 * know no test framework:
 *
 *     for (const { name, skip, run } of sourceConformance(options)) test.skipIf(skip !== undefined)(name, run);
 */
export function sourceConformance(options: ConformanceOptions): readonly ConformanceCheck[] {
  const { capabilities, driver } = options;
  return entries.map((entry, index) => {
    let skip: string | undefined;
    if (entry.needs !== undefined && !capabilities[entry.needs]) skip = `the source is not ${entry.needs}`;
    if (entry.lacks !== undefined && capabilities[entry.lacks]) skip = `the source is ${entry.lacks}`;
    if (entry.driver !== undefined && driver[entry.driver] === undefined) skip = `the driver has no ${entry.driver}()`;
    return { name: entry.name, skip, run: () => runIn(new World(options, index), entry.body) };
  });
}

async function runIn(world: World, body: Body): Promise<void> {
  let isDone = false;
  try {
    await body(world);
    isDone = true;
  } finally {
    // The first error is the one to show.
    await world.stop().catch((error: unknown) => {
      if (isDone) throw error;
    });
  }
}

const entries: readonly Entry[] = [
  {
    name: "begins with a snapshot of everything that is there",
    async body(world) {
      await world.put("a", "1");
      await world.put("b", "2");
      const probe = await world.start();
      await probe.until("the end of the first snapshot", () => probe.snapshots === 1);
      mustBe(world.has(probe, "a", bytesOf("1")), "the first snapshot lacks a key that was there before");
      mustBe(world.has(probe, "b", bytesOf("2")), "the first snapshot lacks a key that was there before");
      mustBe(probe.gaps.length === 0, "a first snapshot follows on nothing, so it is no gap");
      mustBe(probe.groups.length === 0, "groups came before the first snapshot");
      await probe.until("its status to be live", () => probe.statuses.at(-1)?.state === "live");
    },
  },
  {
    name: "goes from the snapshot to the stream without losing or repeating a change",
    async body(world) {
      await world.put("n", "0");
      const probe = await world.start();
      const total = 100;
      for (let number = 1; number <= total; number++) await world.put("n", String(number));
      await world.sees(probe, "n", String(total));
      if (world.onlySnapshots(probe)) return;
      mustBe(probe.gaps.length === 0, `nothing was lost, but there is a gap: ${probe.gaps[0]?.detail}`);
      const numbers = world.changesOf(probe.groups, "n").map(Number);
      const first = numbers[0] ?? total + 1;
      const wanted = Array.from({ length: total + 1 - first }, (_, index) => first + index);
      mustBe(show(numbers) === show(wanted), `expected ${first}…${total} after the snapshot, got ${show(numbers)}`);
    },
  },
  {
    name: "keeps the order of a key's changes",
    needs: "ordered",
    async body(world) {
      const probe = await world.start();
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      const wanted = Array.from({ length: 50 }, (_, index) => `${index}`);
      for (const value of wanted) await world.apply([["k", value]]);
      await world.sees(probe, "k", "49");
      if (world.onlySnapshots(probe)) return;
      mustEndWith(world.changesOf(probe.groups, "k"), wanted, "in order");
    },
  },
  {
    name: "gives every change of a key a greater version",
    needs: "versioned",
    async body(world) {
      const probe = await world.start();
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      for (let index = 0; index < 20; index++) {
        await world.put("k", `${index}`);
        if (world.capabilities.tombstones && index % 5 === 4) await world.delete("k");
      }
      await world.put("k", "end");
      await world.sees(probe, "k", "end");
      const id = keyId(world.key("k"));
      const changes = probe.groups.flatMap((group) => group.changes).filter((change) => keyId(change.key) === id);
      let last = "";
      for (const { version } of changes) {
        mustBe(version !== undefined, "a change has no version, but the source says that it is versioned");
        mustBe((version as string) > last, `version ${version} came after ${last} and is not greater as text`);
        last = version as string;
      }
    },
  },
  {
    name: "reports deletions and what is created again after them",
    needs: "tombstones",
    async body(world) {
      await world.put("k", "1");
      const probe = await world.start();
      await world.sees(probe, "k", "1");
      await world.delete("k");
      await world.sees(probe, "k", undefined);
      await world.put("k", "2");
      await world.sees(probe, "k", "2");
      mustEndWith(world.changesOf(probe.groups, "k"), [undefined, "2"], "after a deletion");
    },
  },
  {
    name: "keeps keys and values byte for byte",
    async body(world) {
      const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      const names: (string | Uint8Array)[] = [
        "text",
        ...(world.binaryKeys ? [every, Uint8Array.from([0, 255, 0])] : []),
      ];
      const probe = await world.start();
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      for (const name of names) await world.put(name, every);
      for (const name of names) await world.sees(probe, name, every);
      const again = await world.start();
      for (const name of names) await world.sees(again, name, every);
    },
  },
  {
    name: "tells an empty value from a deletion",
    async body(world) {
      const probe = await world.start();
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      await world.put("k", "x");
      await world.put("k", "");
      await world.sees(probe, "k", "");
      const again = await world.start();
      await world.sees(again, "k", "");
    },
  },
  {
    name: "delivers a transaction as one group",
    needs: "transactional",
    async body(world) {
      const probe = await world.start();
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      for (let round = 0; round < 10; round++) {
        await world.apply([
          ["x", `${round}`],
          ["y", `${round}`],
          ["z", `${round}`],
        ]);
      }
      await world.sees(probe, "z", "9");
      for (const group of probe.groups) {
        const [x, y, z] = ["x", "y", "z"].map((name) => world.changesOf([group], name));
        mustBe(
          show(x ?? []) === show(y ?? []) && show(y ?? []) === show(z ?? []),
          "a transaction was torn into groups",
        );
      }
    },
  },
  {
    name: "goes on from every cursor without losing a change",
    needs: "resumable",
    async body(world) {
      const probe = await world.start();
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      const points: { readonly resume: ResumePoint; readonly after: number }[] = [{ resume: probe.resume, after: 0 }];
      const total = 8;
      for (let number = 1; number <= total; number++) {
        await world.put("k", `${number}`);
        await world.sees(probe, "k", `${number}`);
        points.push({ resume: probe.resume, after: number });
      }
      await probe.stop();
      await world.put("k", "end");
      for (const { resume, after } of points) {
        const next = await world.start(resume);
        await world.sees(next, "k", "end");
        const wanted = Array.from({ length: total - after }, (_, index) => `${after + index + 1}`);
        const changes = world.changesOf(next.groups, "k");
        mustEndWith(changes, world.isCoalescing ? ["end"] : [...wanted, "end"], `resumed after ${after}`);
        // What is told is in order all the same, and nothing of before.
        const isRest = changes.every(
          (change, at) => change === "end" || Number(change) > (Number(changes[at - 1]) || after),
        );
        mustBe(!world.isCoalescing || isRest, `resumed after ${after}: got the changes ${show(changes)}`);
        mustBe(next.gaps.length === 0, `resumed after ${after}: nothing was lost, but there is a gap`);
        await next.stop();
      }
    },
  },
  {
    name: "tells that it cannot resume, and starts over",
    lacks: "resumable",
    async body(world) {
      await world.put("k", "1");
      const probe = await world.start();
      await world.sees(probe, "k", "1");
      const { resume } = probe;
      await probe.stop();
      const next = await world.start(resume);
      await next.until("a snapshot", () => next.snapshots === 1);
      mustBe(next.gaps[0]?.reason === "disconnected", "what happened meanwhile is unknown, but there is no gap");
    },
  },
  {
    name: "shows what was deleted while nobody was connected",
    async body(world) {
      await world.put("stays", "1");
      await world.put("goes", "1");
      const probe = await world.start();
      await world.sees(probe, "goes", "1");
      const { resume } = probe;
      await probe.stop();
      await world.delete("goes");
      await world.put("stays", "2");
      const next = world.probe();
      for (const [id, value] of probe.state) next.state.set(id, value);
      next.start(await world.open(), resume);
      await world.sees(next, "stays", "2");
      await world.sees(next, "goes", undefined);
    },
  },
  {
    name: "goes on by itself after its connection broke",
    driver: "disconnect",
    async body(world) {
      const probe = await world.start();
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      const total = 20;
      for (let number = 1; number <= total; number++) {
        await world.put("k", `${number}`);
        if (number % 5 === 0) await world.driver.disconnect?.();
      }
      await world.sees(probe, "k", `${total}`);
      if (!world.capabilities.resumable) return;
      const numbers = [...new Set(world.changesOf(probe.groups, "k").map(Number))];
      const first = numbers[0] ?? 1;
      const wanted = Array.from({ length: total + 1 - first }, (_, index) => first + index);
      mustBe(show(numbers) === show(wanted), `expected ${first}…${total}, got ${show(numbers)}`);
      mustBe(probe.gaps.length === 0, "it can resume, but it reports a gap");
    },
  },
  {
    name: "waits for room before it reads on",
    async body(world) {
      const probe = await world.start();
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      probe.hold();
      for (let number = 1; number <= 50; number++) await world.put("k", `${number}`);
      await probe.until("it to ask for room", () => probe.roomRequests > 0);
      probe.release();
      await world.sees(probe, "k", "50");
      mustBe(probe.framesWhileAsking === 0, `${probe.framesWhileAsking} frames came while it waited for room`);
    },
  },
  {
    name: "names a position that covers what was written before, and gets there with nothing more written",
    async body(world) {
      const source = await world.open();
      if (source.barrier === undefined) return;
      const probe = world.probe().start(source);
      await probe.until("the first snapshot", () => probe.snapshots === 1);
      for (const value of ["1", "2"]) {
        await world.put("k", value);
        await probe.reached(await source.barrier(new AbortController().signal));
        mustBe(world.has(probe, "k", bytesOf(value)), "the barrier was reached before the write that it covers");
      }
      // Nothing happens between these two.
      await probe.reached(await source.barrier(new AbortController().signal));
      await probe.reached(await source.barrier(new AbortController().signal));
    },
  },
  {
    name: "ends when it is told to, wherever it stands",
    async body(world) {
      for (let index = 0; index < 20; index++) await world.put(`k${index}`, "x");
      const complete = await world.start();
      await complete.until("the first snapshot", () => complete.snapshots === 1);
      await complete.stop();
      for (const frames of [0, 1, 2, 10]) {
        const probe = await world.start();
        await probe.until(`${frames} frames`, () => probe.frames >= frames);
        await probe.stop();
        const { frames: atEnd } = probe;
        await world.put("late", `${frames}`);
        mustBe(probe.frames === atEnd, "frames came after the run was over");
      }
    },
  },
  {
    name: "says when a cursor is too old, and starts over",
    needs: "tooOldSignal",
    driver: "compact",
    async body(world) {
      await world.put("goes", "1");
      await world.put("stays", "1");
      const probe = await world.start();
      await world.sees(probe, "stays", "1");
      const { resume } = probe;
      await probe.stop();
      await world.delete("goes");
      for (let number = 1; number <= 5; number++) await world.put("stays", `${number}`);
      await world.driver.compact?.();
      const next = await world.start(resume);
      await next.until("a snapshot", () => next.snapshots === 1);
      const [gap] = next.gaps;
      mustBe(
        gap?.reason === "compacted",
        `expected a gap "compacted" before the snapshot, got ${gap?.reason ?? "none"}`,
      );
      mustBe(gap?.from === resume.cursor, `the gap begins at ${resume.cursor}, but it says ${gap?.from}`);
      mustBe(world.has(next, "stays", bytesOf("5")), "the snapshot after the gap lacks the last value");
      mustBe(world.has(next, "goes", undefined), "the snapshot after the gap has a key that was deleted");
    },
  },
  {
    name: "says when the store was replaced, and starts over in a new epoch",
    driver: "replace",
    async body(world) {
      for (let number = 1; number <= 5; number++) await world.put("old", `${number}`);
      const probe = await world.start();
      await world.sees(probe, "old", "5");
      const { resume } = probe;
      await probe.stop();
      await world.driver.replace?.();
      await world.put("new", "1");
      const next = await world.start(resume);
      await world.sees(next, "new", "1");
      mustBe(next.gaps[0]?.reason === "epoch-changed", `expected a gap "epoch-changed", got ${next.gaps[0]?.reason}`);
      mustBe(next.epoch !== resume.epoch, "the epoch is still that of the store that was replaced");
      mustBe(world.has(next, "old", undefined), "a key of the store that was replaced is still there");
    },
  },
];
