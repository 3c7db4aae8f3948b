import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { AdminService, type StatusResponseSchema } from "../src/gen/tidemark/admin/v1/admin_pb.ts";
import { Link, type LinkState } from "../src/page/link.ts";
import type { LinkMessage } from "../src/page/link-protocol.ts";
import { version } from "./support/versions.ts";

/** A daemon as far as the link sees it: a log, a status, and ways to fail. */
class Daemon {
  readonly clock: Simulation["clock"];
  readonly log = [version(1, "a"), version(2, "b")];
  readonly watchedFrom: bigint[] = [];
  origin = "one";
  /** Accepts nothing. */
  isDown = false;
  /** Takes requests and never answers, as a stopped process does. */
  isFrozen = false;
  oldest = 0n;
  connections = 0;
  changed = Promise.withResolvers<void>();
  readonly cuts = new Set<AbortController>();

  constructor(clock: Simulation["clock"]) {
    this.clock = clock;
  }

  put(key: string): void {
    this.log.push(version(this.log.length + 1, key));
    this.change();
  }

  change(): void {
    this.changed.resolve();
    this.changed = Promise.withResolvers<void>();
  }

  cut(): void {
    for (const controller of this.cuts) controller.abort();
    this.change();
  }

  status(): MessageInitShape<typeof StatusResponseSchema> {
    return { position: BigInt(this.log.length), origin: this.origin, startedAtMs: 1n };
  }
}

/** What a page gets to talk to it. */
function clientOf(daemon: Daemon) {
  const guard = async () => {
    await daemon.clock.sleep(1);
    if (daemon.isDown) throw new ConnectError("Failed to fetch", Code.Unavailable);
    while (daemon.isFrozen) await daemon.changed.promise;
  };
  const next = async (signal: AbortSignal, cut: AbortController) => {
    const ended = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => ended.resolve());
    cut.signal.addEventListener("abort", () => ended.resolve());
    if (!signal.aborted && !cut.signal.aborted) await Promise.race([daemon.changed.promise, ended.promise]);
    if (cut.signal.aborted) throw new ConnectError("network error", Code.Unavailable);
  };
  const transport = createRouterTransport(({ service }) => {
    service(AdminService, {
      status: async () => {
        await guard();
        return daemon.status();
      },
      async *watchStatus(_, { signal }) {
        await guard();
        daemon.connections++;
        const cut = new AbortController();
        daemon.cuts.add(cut);
        try {
          while (!signal.aborted) {
            while (daemon.isFrozen) await daemon.changed.promise;
            yield daemon.status();
            await next(signal, cut);
          }
        } finally {
          daemon.connections--;
          daemon.cuts.delete(cut);
        }
      },
      async *watch({ after = 0n }, { signal }) {
        await guard();
        daemon.watchedFrom.push(after);
        if (after < daemon.oldest) throw new ConnectError("These changes were pruned.", Code.OutOfRange);
        yield { position: after };
        const cut = new AbortController();
        daemon.cuts.add(cut);
        let position = after;
        try {
          while (!signal.aborted) {
            const versions = daemon.isFrozen ? [] : daemon.log.slice(Number(position));
            position += BigInt(versions.length);
            if (versions.length > 0) yield { versions, position };
            else await next(signal, cut);
          }
        } finally {
          daemon.cuts.delete(cut);
        }
      },
    });
  });
  return createClient(AdminService, transport);
}

function setup(seed = 1) {
  const simulation = createSimulation({ seed });
  const daemon = new Daemon(simulation.clock);
  const states: LinkState[] = [];
  const messages: LinkMessage[] = [];
  const missed: string[] = [];
  const link = new Link({
    client: clientOf(daemon),
    clock: simulation.clock,
    onState: (state) => states.push(state),
    onConnected: (_, what) => missed.push(what),
    onMessage: (message) => void messages.push(message),
  });
  const until = (type: LinkState["type"]) => simulation.runUntil(() => states.at(-1)?.type === type);
  const positions = () =>
    messages.flatMap((message) =>
      message.type === "changes" ? message.changes.map(({ position }) => Number(position)) : [],
    );
  return { simulation, clock: simulation.clock, daemon, link, states, messages, missed, until, positions };
}

test("is live with the first status, and then tells every change once", async () => {
  const { simulation, daemon, link, states, until, positions } = setup();
  link.connect();
  await until("live");
  await simulation.runUntil(() => positions().length === 2);
  daemon.put("c");
  await simulation.runUntil(() => positions().length === 3);
  expect(positions()).toEqual([1, 2, 3]);
  expect(states).toEqual([{ type: "live" }]);
});

test("says at once that it is cut off, and since when, until it is back", async () => {
  const { simulation, clock, daemon, link, states, until } = setup();
  link.connect();
  await until("live");
  await simulation.advance(10_000);
  daemon.isDown = true;
  daemon.cut();
  await simulation.settle();
  const cutAtMs = clock.now();
  expect(states.at(-1)).toMatchObject({ type: "lost", sinceMs: cutAtMs, error: "the daemon does not answer" });
  await simulation.advance(60_000);
  expect(states.at(-1)).toMatchObject({ type: "lost", sinceMs: cutAtMs });
  expect((states.at(-1) as { nextTryMs: number }).nextTryMs - clock.now()).toBeLessThanOrEqual(8_000);
  daemon.isDown = false;
  await until("live");
});

test("goes on where it was cut, without a change missing or twice", async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const { simulation, daemon, link, missed, positions } = setup(seed);
    link.connect();
    await simulation.runUntil(() => positions().length === 2);
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < simulation.rng.int(0, 4); i++) daemon.put(`k${i}`);
      await simulation.advance(simulation.rng.int(0, 20));
      daemon.cut();
      await simulation.settle();
    }
    await simulation.runUntil(() => positions().at(-1) === daemon.log.length);
    const at = `seed ${seed}`;
    expect({ at, positions: positions() }).toEqual({ at, positions: daemon.log.map((_, i) => i + 1) });
    expect(missed.slice(1)).not.toContain("too much");
  }
});

test("a daemon that is frozen is noticed within ten seconds", async () => {
  const { simulation, clock, daemon, link, states, until } = setup();
  link.connect();
  await until("live");
  await simulation.advance(60_000);
  expect(states.at(-1)).toEqual({ type: "live" });
  daemon.isFrozen = true;
  const frozenAtMs = clock.now();
  await until("lost");
  expect(clock.now() - frozenAtMs).toBeLessThan(10_000);
  daemon.isFrozen = false;
  daemon.change();
  await until("live");
});

test("after a long absence it does not catch up one by one", async () => {
  const { simulation, daemon, link, missed, until, positions } = setup();
  link.connect();
  await until("live");
  await simulation.runUntil(() => positions().length === 2);
  link.pause();
  for (let i = 0; i < 5_000; i++) daemon.put("x");
  link.connect();
  await until("live");
  await simulation.runUntil(() => positions().at(-1) === 5_002);
  expect(missed).toEqual(["too much", "too much"]);
  expect(positions().length).toBe(102);
});

test("when the daemon no longer has the changes it starts at the present ones", async () => {
  const { simulation, daemon, link, until, positions } = setup();
  link.connect();
  await until("live");
  await simulation.runUntil(() => positions().length === 2);
  for (let i = 0; i < 200; i++) daemon.log.push(version(daemon.log.length + 1, "x"));
  daemon.oldest = 100n;
  daemon.cut();
  await simulation.runUntil(() => positions().at(-1) === 202);
  expect(daemon.watchedFrom).toEqual([0n, 2n, 102n]);
});

test("another database behind the same address is told from scratch", async () => {
  const { simulation, daemon, link, missed, until, positions } = setup();
  link.connect();
  await until("live");
  await simulation.runUntil(() => positions().length === 2);
  daemon.origin = "two";
  daemon.cut();
  await simulation.runUntil(() => positions().length === 4);
  expect(positions()).toEqual([1, 2, 1, 2]);
  expect(missed).toEqual(["too much", "too much"]);
});

test("a page that nobody sees holds no connection", async () => {
  const { simulation, daemon, link, states, until } = setup();
  link.connect();
  await until("live");
  link.pause();
  await simulation.settle();
  expect([states.at(-1)?.type, daemon.connections]).toEqual(["paused", 0]);
  await simulation.advance(3_600_000);
  expect([states.at(-1)?.type, daemon.connections]).toEqual(["paused", 0]);
  link.connect();
  await until("live");
});

test("asking for a try now cuts the wait short", async () => {
  const { simulation, clock, daemon, link, until } = setup();
  daemon.isDown = true;
  link.connect();
  await until("lost");
  await simulation.advance(120_000);
  daemon.isDown = false;
  const askedAtMs = clock.now();
  link.connect();
  await until("live");
  expect(clock.now() - askedAtMs).toBeLessThan(10);
});
