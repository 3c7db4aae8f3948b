// Random servers and random users, against what a reconnector promises at every instant.

import { createSimulation } from "@tidemark/clock/testing";
import { StreamError, StreamReconnector } from "@tidemark/stream";
import { createMemoryServer } from "@tidemark/stream/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Line, type LineConnection, LineError, lineProtocol } from "./support/line-protocol.ts";

/** How the server treats one stream. */
const treatment = fc.record({
  greetsAfterMs: fc.oneof(
    { weight: 5, arbitrary: fc.nat(50) },
    { weight: 1, arbitrary: fc.constant(Number.POSITIVE_INFINITY) },
  ),
  messages: fc.nat(5),
  everyMs: fc.nat(3_000),
  isProgress: fc.boolean(),
  end: fc.oneof(
    {
      weight: 20,
      arbitrary: fc.constantFrom(
        "end" as const,
        "fast" as const,
        "slow" as const,
        "abort" as const,
        "silence" as const,
        "undefined" as const,
      ),
    },
    { weight: 1, arbitrary: fc.constant("fatal" as const) },
  ),
});

const action = fc.oneof(
  { weight: 30, arbitrary: fc.record({ type: fc.constant("wait" as const), ms: fc.nat(20_000) }) },
  { weight: 8, arbitrary: fc.constant({ type: "connected" as const }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("connected, aborted" as const), afterMs: fc.nat(5_000) }) },
  { weight: 4, arbitrary: fc.constant({ type: "fail the connection" as const }) },
  { weight: 4, arbitrary: fc.constant({ type: "close the connection" as const }) },
  { weight: 4, arbitrary: fc.constant({ type: "send" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "close" as const }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("close, flushing" as const), afterMs: fc.nat(40_000) }) },
  { weight: 1, arbitrary: fc.constant({ type: "destroy" as const }) },
);

const walk = fc.record({
  seed: fc.integer(),
  treatments: fc.array(treatment, { minLength: 1, maxLength: 6, size: "max" }),
  actions: fc.array(action, { maxLength: 40, size: "max" }),
  holdsMs: fc.constantFrom(0, 0, 500, 20_000),
  maxAttempts: fc.constantFrom(Number.POSITIVE_INFINITY, 5),
});

test("P1-P13, X1, X2, X10 and X20 hold for every server and every user", async () => {
  await fc.assert(
    fc.asyncProperty(walk, async ({ seed, treatments, actions, holdsMs, maxAttempts }) => {
      const simulation = createSimulation({ seed });
      const { clock, rng } = simulation;
      const server = createMemoryServer<Line, Line>({
        async onStream(peer) {
          const { greetsAfterMs, messages, everyMs, isProgress, end } = treatments[
            (peer.id - 1) % treatments.length
          ] as (typeof treatments)[number];
          const pause = (ms: number) => clock.sleep(ms, { signal: peer.signal }).catch(() => {});
          if (greetsAfterMs === Number.POSITIVE_INFINITY) return;
          await pause(greetsAfterMs);
          peer.send("welcome");
          for (let n = 0; n < messages; n++) {
            await pause(everyMs);
            peer.send(isProgress ? "progress" : `message ${n}`);
          }
          if (end === "silence") return;
          if (end === "end") peer.end();
          else if (end === "undefined") peer.fail(undefined);
          else if (end === "abort") peer.fail(new DOMException("aborted", "AbortError"));
          else peer.fail(new LineError(end));
        },
      });

      // What is heard, in order, for each connection.
      const lives = new Map<number, string[]>();
      const note = (id: number, what: string) => {
        lives.set(id, [...(lives.get(id) ?? []), what]);
      };
      const attempts: number[] = [];
      let lastAttempt = 0;
      const protocol = lineProtocol(server, {
        onMessage(_, connection) {
          note(connection.id, "message");
          return holdsMs > 0 ? clock.sleep(holdsMs) : undefined;
        },
      });
      const reconnector = new StreamReconnector(protocol, {
        clock,
        rng,
        maxAttempts,
        silenceTimeoutMs: 15_000,
        handshakeTimeoutMs: 5_000,
        closeTimeoutMs: 10_000,
        onConnected(connection) {
          expect(reconnector.current, "P3").toBe(connection);
          expect(connection.session, "P3").toBe("welcome");
          note((connection as LineConnection).id, "connected");
        },
        onDisconnected({ attempt, delayMs }) {
          expect(server.open, "X2").toBe(0);
          expect(reconnector.current, "P3").toBeUndefined();
          // P4: one more than before, or the first after it was proven.
          expect([1, lastAttempt + 1], "P4").toContain(attempt);
          if (delayMs !== undefined)
            expect(delayMs, "P4").toBeLessThanOrEqual(Math.min(60_000, 1_000 * 2 ** (attempt - 1)));
          lastAttempt = attempt;
          attempts.push(attempt);
        },
      });

      const waits: { isSettled: boolean }[] = [];
      const track = (promise: Promise<unknown>) => {
        const wait = { isSettled: false };
        waits.push(wait);
        promise.then(
          () => (wait.isSettled = true),
          () => (wait.isSettled = true),
        );
      };

      reconnector.start();
      for (const each of actions) {
        if (each.type === "wait") await simulation.advance(each.ms);
        else if (each.type === "connected") track(reconnector.connected());
        else if (each.type === "connected, aborted") {
          const controller = new AbortController();
          track(reconnector.connected({ signal: controller.signal }));
          clock.setTimer(each.afterMs, () => controller.abort(new Error("enough")));
        } else if (each.type === "fail the connection") reconnector.current?.fail(new LineError("slow"));
        else if (each.type === "close the connection") void reconnector.current?.close();
        else if (each.type === "send") reconnector.current?.send("line");
        else if (each.type === "close") track(reconnector.close());
        else if (each.type === "close, flushing") track(reconnector.close({ flush: () => clock.sleep(each.afterMs) }));
        else reconnector.destroy(new Error("destroyed"));
        expect(server.maxOpen, "P1").toBeLessThanOrEqual(1);
      }

      // A close is bounded, whatever the server does.
      track(reconnector.close({ flush: () => new Promise(() => {}) }));
      await simulation.advance(10_000);
      expect(
        waits.filter(({ isSettled }) => !isSettled),
        "P8, P9",
      ).toEqual([]);
      expect(["closed", "failed"], "P7").toContain(reconnector.state);
      const { error } = await reconnector.done;
      // What a hook of this test found.
      if (StreamError.is(error) && error.code === "HOOK_FAILED") throw error.cause;
      const { started, transports } = server;
      await simulation.advance(600_000);
      expect(server, "P13").toMatchObject({ started, transports, open: 0, maxOpen: started > 0 ? 1 : 0 });
      expect(transports, "P15").toBe(started);
      expect(simulation.pending(), "X20").toEqual([]);
      for (const [id, life] of lives) expect(life[0], `P3: connection ${id}`).toBe("connected");
    }),
    { numRuns: process.env["TIDEMARK_LONG"] === "1" ? 5_000 : 200 },
  );
});
