import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import type { Source } from "../src/contract.ts";
import { StoreWatchError } from "../src/errors.ts";
import type { FrameBuffer } from "../src/frame-buffer.ts";
import type { AppendResult, History } from "../src/history-types.ts";
import { createReferenceStore } from "../src/testing/reference-store.ts";
import { createSimulatedSource } from "../src/testing/simulated-source.ts";
import { openWatcher } from "../src/watcher.ts";
import type { Watcher } from "../src/watcher-types.ts";
import { auditReplica, CommitLog } from "../src/testing/replica-oracle.ts";
import { bytes, sharedHistory } from "./watcher-stage.ts";

/** Where the commit that is struck breaks. */
const breaks = ["none", "refused", "lost before", "lost after", "crash before", "crash after"] as const;
type Break = (typeof breaks)[number];

interface Cut {
  /** The run of the source dies in place of this frame; -1: never. */
  readonly frame: number;
  /** Which append is struck, from 0. */
  readonly append: number;
  readonly how: Break;
  readonly resumable: boolean;
}

const isLong = process.env["TIDEMARK_LONG"] === "1";
let streams = 0;

/** Four small transactions, one cut of the source and one of the database, each exactly where it is told to be. */
async function live(history: History, cut: Cut): Promise<void> {
  const simulation = createSimulation({ seed: 1 });
  const { clock, rng } = simulation;
  const store = createReferenceStore();
  const name = `cut-${++streams}`;
  const log = new CommitLog();
  const inner = createSimulatedSource(store, { clock, rng, capabilities: { resumable: cut.resumable } });
  let frames = 0;
  const source: Source = {
    kind: inner.kind,
    description: inner.description,
    scope: inner.scope,
    capabilities: inner.capabilities,
    barrier: (signal) => inner.barrier(signal),
    run: (from, sink, signal) =>
      inner.run(
        from,
        {
          write(frame) {
            if (frames++ === cut.frame) throw new Error("cut");
            return sink.write(frame);
          },
          ready: (each) => sink.ready(each),
          alive: () => sink.alive(),
          status: (status) => sink.status(status),
        },
        signal,
      ),
  };
  let appends = 0;
  let watcher: Watcher | undefined;
  let reopened = Promise.resolve();
  const crash = () => {
    watcher?.destroy();
    watcher = undefined;
    reopened = clock.sleep(50).then(open);
  };
  const strike = async (append: (buffer: FrameBuffer) => Promise<AppendResult>, buffer: FrameBuffer) => {
    const how: Break = appends++ === cut.append ? cut.how : "none";
    if (how === "refused") throw new StoreWatchError("COMMIT_FAILED", "busy", { retryable: true });
    const isLost = how === "lost before" || how === "lost after";
    const frames = buffer.decode();
    const commit = async () => {
      const result = await simulation.external(() => append(buffer));
      log.add(frames);
      return result;
    };
    if (how === "none") return await commit();
    if (how.endsWith("after")) await commit();
    if (isLost) {
      buffer.toTransfer();
      throw new StoreWatchError("WORKER_DIED", "gone", { retryable: true });
    }
    crash();
    return await new Promise<never>(() => {});
  };
  const open = async () => {
    watcher = await openWatcher({
      source,
      name,
      clock,
      rng,
      history: {
        async openStream(options) {
          const stream = await simulation.external(() => history.openStream(options));
          log.reopened();
          return { name, resume: stream.resume, append: (buffer) => strike((each) => stream.append(each), buffer) };
        },
      },
    });
  };
  await simulation.run(async () => {
    store.put(bytes("before"), bytes("1"));
    store.put(bytes("gone"), bytes("1"));
    await open();
    const pauses = [15, 1, 0, 30];
    const transactions = [
      [
        { key: bytes("a"), value: bytes("1") },
        { key: bytes("b"), value: bytes("1") },
      ],
      [
        { key: bytes("a"), value: bytes("2") },
        { key: bytes("a"), value: undefined },
      ],
      [{ key: bytes("gone"), value: undefined }],
      [
        { key: bytes("a"), value: bytes("3") },
        { key: bytes("b"), value: bytes("") },
      ],
    ];
    for (const [index, operations] of transactions.entries()) {
      store.transact(operations);
      await clock.sleep(pauses[index] as number);
    }
    for (let isDone = false; !isDone; ) {
      await reopened;
      isDone = await (watcher as unknown as Watcher).waitFor("now").then(
        () => true,
        () => false,
      );
    }
    // What is waited for may be there already, while a snapshot is on its way.
    while (watcher?.status().state !== "live") await clock.sleep(100);
    await watcher.close();
    const world = { store, history, stream: name, log, losses: inner.losses, isVersioned: true, isTransactional: true };
    await simulation.external(() => auditReplica(world));
  });
}

for (const how of breaks) {
  test(`H6: every place to cut the source, times every commit to be struck: ${how}`, async () => {
    const history = await sharedHistory();
    let worlds = 0;
    for (const resumable of [true, false]) {
      for (let frame = -1; frame <= 16; frame++) {
        for (let append = 0; append <= (how === "none" ? 0 : 6); append++) {
          // By default one in three, so that every frame and every append is among them.
          if (!isLong && (frame + append + breaks.indexOf(how)) % 3 !== 0) continue;
          const cut = { frame, append, how, resumable };
          worlds++;
          await live(history, cut).catch((error: unknown) => {
            throw new Error(`${JSON.stringify(cut)}\n${error instanceof Error ? error.message : String(error)}`, {
              cause: error,
            });
          });
        }
      }
    }
    expect(worlds).toBeGreaterThan(how === "none" ? 10 : 80);
  }, 60_000);
}
