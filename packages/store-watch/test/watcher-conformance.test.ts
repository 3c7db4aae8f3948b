import { seededRng } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import type { Frame, FrameSink, Source, SourceCapabilities } from "../src/contract.ts";
import { createReferenceStore } from "../src/testing/reference-store.ts";
import { createSimulatedSource, type SimulatedSource } from "../src/testing/simulated-source.ts";
import { type ConformanceCheck, sourceConformance } from "../src/testing/source-conformance.ts";

const everything: SourceCapabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

/** The suite against a simulated source, in a world of its own per check. */
function checks(
  capabilities: Partial<SourceCapabilities>,
  wrap: (source: SimulatedSource) => Source = (source) => source,
) {
  const simulation = createSimulation({ seed: 7 });
  const { clock } = simulation;
  const store = createReferenceStore();
  const sources: SimulatedSource[] = [];
  const list = sourceConformance({
    open() {
      const rng = seededRng(sources.length);
      const source = createSimulatedSource(store, { clock, rng, capabilities });
      sources.push(source);
      return wrap(source);
    },
    capabilities: { ...everything, ...capabilities },
    clock,
    driver: {
      async apply(operations) {
        await clock.sleep(1);
        store.transact(operations);
      },
      async disconnect() {
        sources.at(-1)?.disconnect();
        await clock.sleep(20);
      },
      async compact() {
        store.compact(store.revision);
      },
      async replace() {
        store.wipe();
      },
    },
  });
  return list.map(({ name, skip, run }): ConformanceCheck => ({ name, skip, run: () => simulation.run(run) }));
}

for (const [label, capabilities] of Object.entries({
  "a source that can do everything": {},
  "a source that cannot resume": { resumable: false, tooOldSignal: false },
  "a source without versions": { versioned: false },
  "a source without transactions": { transactional: false },
})) {
  for (const { name, skip, run } of checks(capabilities)) {
    test.skipIf(skip !== undefined)(`${label}: ${name}`, run);
  }
}

/** Changes what a source says. */
function tampered(source: Source, tamper: (frame: Frame, write: (frame: Frame) => boolean) => boolean): Source {
  return {
    kind: source.kind,
    description: source.description,
    scope: source.scope,
    capabilities: source.capabilities,
    barrier: (signal) => source.barrier!(signal),
    run(from, sink, signal) {
      const between: FrameSink = {
        write: (frame) => tamper(frame, (each) => sink.write(each)),
        ready: (each) => sink.ready(each),
        alive: () => sink.alive(),
        status: (status) => sink.status(status),
      };
      return source.run(from, between, signal);
    },
  };
}

async function failures(list: readonly ConformanceCheck[]): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, skip, run } of list) {
    if (skip === undefined) await run().catch(() => failed.push(name));
  }
  return failed;
}

const defects: Record<string, { readonly wrap: (source: SimulatedSource) => Source; readonly found: string }> = {
  "a source that swallows deletions": {
    wrap: (source) =>
      tampered(source, (frame, write) => (frame.type === "change" && frame.value === undefined ? true : write(frame))),
    found: "reports deletions and what is created again after them",
  },
  "a source that tears transactions": {
    wrap: (source) => {
      let cursor = "a0";
      return tampered(source, (frame, write) => {
        if (frame.type === "commit" || frame.type === "snapshot-end") cursor = frame.cursor;
        if (frame.type !== "change" || frame.version === undefined || frame.version.endsWith(".a0"))
          return write(frame);
        write({ type: "commit", cursor });
        return write(frame);
      });
    },
    found: "delivers a transaction as one group",
  },
  "a source that resumes one too late": {
    wrap: (source) => ({
      ...tampered(source, (frame, write) => write(frame)),
      run: (from, sink, signal) => {
        const digits = from === undefined ? 0n : BigInt(from.cursor.slice(1)) + 1n;
        const cursor = `${String.fromCharCode(96 + `${digits}`.length)}${digits}`;
        return source.run(from === undefined ? undefined : { ...from, cursor }, sink, signal);
      },
    }),
    found: "goes on from every cursor without losing a change",
  },
  "a source that hides that its cursor was too old": {
    wrap: (source) => tampered(source, (frame, write) => (frame.type === "gap" ? true : write(frame))),
    found: "says when a cursor is too old, and starts over",
  },
  "a source that mistakes an empty value for a deletion": {
    wrap: (source) =>
      tampered(source, (frame, write) =>
        frame.type === "change" && frame.value?.length === 0 ? write({ ...frame, value: undefined }) : write(frame),
      ),
    found: "tells an empty value from a deletion",
  },
  "a source that never waits": {
    wrap: (source) => tampered(source, (frame, write) => write(frame) || true),
    found: "waits for room before it reads on",
  },
  "a source that does not end": {
    wrap: (source) => ({
      ...tampered(source, (frame, write) => write(frame)),
      run: (from, sink, signal) => source.run(from, sink, signal).catch(() => new Promise(() => {})),
    }),
    found: "ends when it is told to, wherever it stands",
  },
  "a source that speaks of progress within a group": {
    wrap: (source) =>
      tampered(source, (frame, write) => {
        const isRoom = write(frame);
        return frame.type === "change" ? write({ type: "progress", cursor: "z9" }) && isRoom : isRoom;
      }),
    found: "keeps the order of a key's changes",
  },
};

for (const [label, { wrap, found }] of Object.entries(defects)) {
  test(`the conformance suite catches ${label}`, async () => {
    expect(await failures(checks({}, wrap))).toContain(found);
  });
}
