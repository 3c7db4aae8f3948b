// A reader and its program against the rules of the service, under seeded faults.

import { createSimulation } from "@tidemark/clock/testing";
import { openReader, type Reader, type ReaderBatch, ReaderError, type ReaderOptions } from "@tidemark/topic-reader";
import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { type ModelPartition, ModelServer } from "./support/model-server.ts";
import { simClient } from "./support/sim-client.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const seeds = Number(process.env["TIDEMARK_SEEDS"] ?? (isLong ? 10_000 : 300));
const first = Number(process.env["TIDEMARK_SEED"] ?? 1);

/** What was done with every offset of a partition. */
interface Ledger {
  readonly delivered: Map<number, number>;
  readonly written: Set<number>;
  /** Nobody has to see it: retention was faster, or another reader handled it. */
  readonly excused: Set<number>;
  /** The last offset that came in the session that is under way. */
  last: number;
}

interface Outcome {
  readonly trace: string;
  readonly delivered: number;
  readonly moves: number;
}

async function simulate(seed: number): Promise<Outcome> {
  const simulation = createSimulation({ seed, limitMs: 4 * 3_600_000 });
  const { clock, rng } = simulation;
  const chance = (share: number) => rng.float() < share;
  const server = new ModelServer(clock, rng.fork("server"));
  server.windowBytes = rng.pick([300, 2_000, 100_000]);
  const faultShare = rng.pick([0, 0.3, 1]);
  const ledgers = new Map<ModelPartition, Ledger>();
  const problems: string[] = [];
  const add = (partition: ModelPartition) => {
    ledgers.set(partition, { delivered: new Map(), written: new Set(), excused: new Set(), last: -1 });
    return partition;
  };
  const ledgerOf = (partition: ModelPartition) => ledgers.get(partition) as Ledger;
  for (const topic of ["/local/a", "/local/b"]) {
    for (let id = 0; id < 2; id++) add(server.addPartition(topic, id));
  }
  const write = (partition: ModelPartition, count: number) => {
    for (let n = 0; n < count && partition.isOpen; n++) {
      server.write(partition, rng.pick([10, 100, 900]), chance(0.1) ? rng.int(1, 5) : 0);
      ledgerOf(partition).written.add(partition.endOffset - 1);
    }
  };
  for (const partition of server.partitions) write(partition, rng.int(0, 30));
  server.onSessionStarted = ({ partition, readOffset }) => {
    ledgerOf(partition).last = readOffset - 1;
  };
  server.onCommitted = (partition, from, to) => {
    const { written, delivered, excused } = ledgerOf(partition);
    for (let offset = from; offset < to; offset++) {
      if (!written.has(offset) || delivered.has(offset) || excused.has(offset)) continue;
      problems.push(`${partition.key}:${offset} is committed and was never delivered`);
    }
  };
  server.faults = {
    hungHandshake: 0.1 * faultShare,
    latencyMs: rng.pick([0, 5, 200]),
    lostAck: 0.05 * faultShare,
    noise: 0.05 * faultShare,
  };

  // The program.
  const isListening = chance(0.5);
  const workMs = rng.pick([0, 3, 300]);
  const pace = async (signal?: AbortSignal) => {
    if (workMs > 0) await clock.sleep(rng.int(0, workMs), signal ? { signal } : {});
  };
  const waits: { isSettled: boolean; readonly what: string }[] = [];
  const track = (what: string, promise: Promise<unknown>) => {
    const wait = { isSettled: false, what };
    waits.push(wait);
    promise.then(
      () => (wait.isSettled = true),
      (error: unknown) => {
        wait.isSettled = true;
        if (!ReaderError.is(error)) problems.push(`${what} rejected with ${String(error)}`);
      },
    );
  };
  const note = (batch: ReaderBatch) => {
    const partition = server.partitions.find(
      ({ topic, id }) => topic === batch.topic && id === batch.partitionId,
    ) as ModelPartition;
    const ledger = ledgerOf(partition);
    const { delivered, written, excused } = ledger;
    for (const { offset: exact, data } of batch) {
      const offset = Number(exact);
      if (Buffer.from(data).toString() !== `${partition.key}:${offset}`) problems.push(`X4: wrong data at ${offset}`);
      if (offset <= ledger.last) problems.push(`${partition.key}: ${offset} after ${ledger.last}`);
      for (let n = ledger.last + 1; n < offset; n++) {
        if (written.has(n) && !excused.has(n)) problems.push(`${partition.key}: ${n} was skipped before ${offset}`);
      }
      const parent = server.partitions.find(({ children }) => children.includes(partition));
      if (parent !== undefined && server.moves === 0 && server.inits === 1) {
        const missing = [...ledgerOf(parent).written].filter((n) => !ledgerOf(parent).delivered.has(n));
        if (missing.some((n) => !ledgerOf(parent).excused.has(n)))
          problems.push(`${partition.key} came before its parent`);
      }
      ledger.last = offset;
      delivered.set(offset, (delivered.get(offset) ?? 0) + 1);
    }
  };
  let token = 0;
  const options: ReaderOptions = {
    client: simClient(server.memory, () => `token-${token}`),
    topics: ["/local/a", "/local/b"],
    consumer: "consumer",
    maxBufferBytes: server.windowBytes,
    handshakeTimeoutMs: 5_000,
    gracefulStopTimeoutMs: 2_000,
    reassignTimeoutMs: 20_000,
    listenerStallMs: 3_000,
    closeTimeoutMs: 10_000,
    startHookTimeoutMs: 1_000,
    startHookRetryMs: 100,
    tokenRefreshIntervalMs: 7_000,
    clock,
    rng: rng.fork("reader"),
    ...(chance(0.3) && {
      onPartitionStart: async (start, signal) => {
        if (chance(0.1 * faultShare)) throw new Error("no database");
        if (chance(0.1 * faultShare)) await clock.sleep(60_000, { signal });
        if (chance(0.3)) await clock.sleep(rng.int(0, 300));
        return chance(0.5) ? { readOffset: start.committedOffset } : undefined;
      },
    }),
  };
  let isCalm = false;

  const commit = (batch: ReaderBatch): Promise<void> | undefined => {
    const kind = isCalm ? 0 : rng.int(0, 10);
    if (kind <= 3) batch.commitAndForget();
    else if (kind <= 6) {
      const done = batch.commit();
      track("commit", done);
      if (chance(0.3)) track("the same commit", batch.commit());
      // It may lie behind something that this program never commits, so it must not wait for ever.
      return chance(0.3) && isListening ? Promise.race([done.catch(() => {}), clock.sleep(2_000)]) : undefined;
    } else if (kind <= 8 && batch.length > 1) {
      // In parts, and not in order.
      const middle = rng.int(1, batch.length);
      track("the end", batch.slice(middle).commit());
      track("the start", batch.slice(0, middle).commit());
    } else void 0;
    return undefined;
  };

  async function program(reader: Reader): Promise<void> {
    const maxMessages = rng.pick([1, 3, Number.POSITIVE_INFINITY]);
    if (isListening) {
      const busy = new Set<string>();
      await reader.listen(
        async (batch) => {
          const key = `${batch.topic}/${batch.partitionId}`;
          if (busy.has(key)) problems.push(`X12: two listeners at once for ${key}`);
          busy.add(key);
          try {
            if (!isCalm && chance(0.02 * faultShare)) throw new Error("the listener failed");
            if (batch.isCurrent) note(batch);
            await pace();
            if (!isCalm && chance(0.01 * faultShare)) await clock.sleep(rng.int(1_000, 20_000));
            await commit(batch);
          } finally {
            busy.delete(key);
          }
        },
        { maxMessages, isAutoCommit: false },
      );
      return;
    }
    for await (const batch of reader.read({ maxMessages })) {
      note(batch);
      await pace();
      await commit(batch);
    }
  }

  await simulation.run(async () => {
    const reader = await openReader(options);
    const running = program(reader);
    track("the program", running);
    // The world.
    for (let step = rng.int(10, 40); step > 0; step--) {
      await clock.sleep(rng.int(0, 500));
      const partition = rng.pick(server.partitions);
      write(partition, rng.int(0, 10));
      if (!chance(faultShare)) continue;
      const kind = rng.int(0, 12);
      if (kind === 0) server.cut();
      else if (kind === 1) server.refuse(rng.pick([StatusCode.UNAVAILABLE, StatusCode.OVERLOADED]), "restarting");
      else if (kind <= 4) {
        server.take(partition, true);
        if (chance(0.3)) clock.setTimer(rng.int(0, 500), () => server.take(partition, false));
      } else if (kind === 5) server.take(partition, false);
      else if (kind === 6) {
        const gone = server.trim(partition, partition.firstOffset + rng.int(0, 20));
        for (const { offset } of gone) ledgerOf(partition).excused.add(offset);
      } else if (kind === 7 && server.partitions.length < 8 && partition.isOpen) {
        const id = 10 + server.partitions.length;
        for (const child of server.split(partition, [id, id + 1])) write(add(child), rng.int(0, 5));
      } else if (kind === 8) {
        // Another reader handles some of what it was given.
        if (partition.hasRival) {
          const to = Math.min(partition.endOffset, partition.committed + rng.int(0, 8));
          for (let n = partition.committed; n < to; n++) ledgerOf(partition).excused.add(n);
          partition.committed = Math.max(partition.committed, to);
        }
      } else if (kind === 9) token++;
      for (const each of server.partitions) if (each.hasRival && chance(0.5)) server.giveBack(each);
    }
    if (server.moves === 0 && server.inits === 1) {
      const again = [...ledgers.values()].flatMap((each) => [...each.delivered.values()]).filter((times) => times > 1);
      if (again.length > 0) problems.push(`${again.length} messages came twice on one stream, and nothing moved`);
    }
    // Calm: everything that is left is delivered and committed.
    isCalm = true;
    server.faults = { hungHandshake: 0, latencyMs: 2, lostAck: 0, noise: 0.1 * faultShare };
    for (const partition of server.partitions) server.giveBack(partition);
    // What was never committed stays so for this stream.
    server.cut();
    const isDone = () =>
      server.partitions.every(
        (each) => each.committed >= Math.max(each.firstOffset, lastOf(each) + 1) || lastOf(each) < 0,
      );
    const startMs = clock.monotonic();
    while (!isDone() && clock.monotonic() - startMs < 600_000) {
      for (const partition of server.partitions) if (partition.hasRival) server.giveBack(partition);
      await clock.sleep(100);
    }
    if (!isDone()) {
      const left = server.partitions.map((each) => `${each.key}: ${each.committed} of ${lastOf(each) + 1}`);
      problems.push(`not everything is committed: ${left.join(", ")}`);
    }
    // What was committed by then may still be on its way through the program.
    await clock.sleep(60_000);
    // X13, at rest: nothing is kept, so all but what is too little for a request is granted.
    const { available, windowBytes } = server;
    if (available > windowBytes || available <= windowBytes - Math.max(1, Math.floor(windowBytes / 4))) {
      problems.push(`X13: ${available} of ${windowBytes} bytes of credit at rest`);
    }
    // The end, also with a server that says nothing any more.
    if (chance(0.3)) server.faults = { hungHandshake: 1, latencyMs: 2, lostAck: 1, noise: 0 };
    if (chance(0.3)) server.cut();
    const closing = reader.close();
    track("close", closing);
    const before = clock.monotonic();
    await closing.catch(() => {});
    if (clock.monotonic() - before > 10_001) problems.push(`X3: close took ${clock.monotonic() - before} ms`);
    await running.catch(() => {});
    await clock.sleep(60_000);
    if (!isListening && reader.receiveNowait() !== null) problems.push("P20: a closed reader gives something");
  });

  for (const { isSettled, what } of waits) if (!isSettled) problems.push(`P9: ${what} is still pending`);
  for (const [partition, { written, delivered, excused }] of ledgers) {
    for (const offset of written) {
      const times = delivered.get(offset) ?? 0;
      if (times === 0 && !excused.has(offset)) problems.push(`${partition.key}:${offset} was never delivered`);
    }
  }
  problems.push(...server.violations);
  if (server.memory.maxOpen > 1) problems.push(`P1: ${server.memory.maxOpen} streams at once`);
  if (server.memory.open > 0) problems.push("a stream is left open");
  const pending = simulation.pending().filter(({ isRef }) => isRef);
  if (pending.length > 0) problems.push(`X20: ${pending.length} timers are left`);
  expect(problems.slice(0, 10), `seed ${seed}`).toEqual([]);
  const delivered = [...ledgers.values()].reduce((sum, each) => sum + each.delivered.size, 0);
  return { trace: simulation.trace.digest(), delivered, moves: server.moves };
}

/** The last offset there is. */
const lastOf = (partition: ModelPartition): number => partition.messages.at(-1)?.offset ?? -1;

test(`P1, P9, P16, P24, X3, X4, X12 to X16: nothing is lost or reordered in ${seeds} worlds`, {
  timeout: 3_600_000,
}, async () => {
  let delivered = 0;
  let moves = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    const outcome = await simulate(seed);
    delivered += outcome.delivered;
    moves += outcome.moves;
  }
  expect(delivered).toBeGreaterThan(seeds * 50);
  expect(moves).toBeGreaterThan(seeds / 2);
});
