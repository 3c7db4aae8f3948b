import type { Timer } from "@tidemark/clock";
import { expect, onTestFinished, test } from "vitest";
import { ReceiveTurn } from "../src/receive-turn.ts";
import { HostileDevice, synced, textUpdate } from "./hostile-device.ts";
import { quickLimiter } from "./support.ts";
import { gnmiSource } from "../src/index.ts";

/** A clock that knows nothing but turns. */
class Turns {
  due: (() => void)[] = [];

  setImmediate(callback: () => void): Timer {
    this.due.push(callback);
    return undefined as unknown as Timer;
  }

  /** The next turn, with everything that comes of it. */
  async next(): Promise<void> {
    for (const each of this.due.splice(0)) each();
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

test("so much is taken at once, and the rest turn by turn, first come, first served", async () => {
  const turns = new Turns();
  const turn = new ReceiveTurn(turns, 100);
  const taken: string[] = [];
  const enter = (name: string, bytes: number) => {
    const wait = turn.enter(bytes);
    if (wait === undefined) taken.push(name);
    else void wait.then(() => taken.push(name));
  };
  enter("a1", 60);
  enter("b1", 60);
  // Nobody waits, so there is nothing to do in the next turn.
  expect(turns.due).toEqual([]);
  enter("a2", 60);
  enter("b2", 10);
  enter("c1", 500);
  enter("a3", 60);
  expect(taken).toEqual(["a1", "b1"]);
  await turns.next();
  expect(taken).toEqual(["a1", "b1", "a2", "b2", "c1"]);
  await turns.next();
  expect(taken).toEqual(["a1", "b1", "a2", "b2", "c1", "a3"]);
  expect(turns.due).toEqual([]);
  // What was taken counts until somebody had to wait.
  enter("a4", 40);
  enter("a5", 1);
  expect(taken.at(-1)).toBe("a4");
  await turns.next();
  expect(taken.at(-1)).toBe("a5");
});

test("everything on one clock shares its turns", () => {
  const [one, other] = [new Turns(), new Turns()];
  expect(ReceiveTurn.of(one)).toBe(ReceiveTurn.of(one));
  expect(ReceiveTurn.of(one)).not.toBe(ReceiveTurn.of(other));
});

test("while devices flood, the event loop moves on after each piece", async () => {
  const values = ["x", "y"].map((letter) => textUpdate("/a", letter.repeat(900)));
  const perDevice = 8_000;
  const flooding = () => {
    const device: HostileDevice = new HostileDevice((call) => {
      call.send(synced);
      let sent = 0;
      void device.flood(call, () => (sent < perDevice ? values[++sent % 2] : undefined));
    });
    return device.listen();
  };
  const devices = await Promise.all([flooding(), flooding(), flooding()]);
  let inTurn = 0;
  let most = 0;
  let changes = 0;
  let isOver = false;
  const all = Promise.withResolvers<void>();
  // One look in every turn of the loop.
  const look = () => {
    most = Math.max(most, inTurn);
    inTurn = 0;
    if (!isOver) setImmediate(look);
  };
  look();
  onTestFinished(() => void (isOver = true));
  const over = new AbortController();
  onTestFinished(() => over.abort(new Error("done")));
  const runs = devices.map(({ address }) =>
    gnmiSource({ address, subscriptions: [{ path: "/" }], limiter: quickLimiter() }).run(
      undefined,
      {
        write: (frame) => {
          if (frame.type === "change") {
            inTurn++;
            if (++changes === devices.length * perDevice) all.resolve();
          }
          return true;
        },
        ready: () => Promise.resolve(),
        alive: () => {},
        status: () => {},
      },
      over.signal,
    ),
  );
  for (const run of runs) run.catch(() => {});
  await all.promise;
  expect(changes).toBe(devices.length * perDevice);
  // 64 KiB are some 68 of these, and the last batch may pass it by what HTTP/2 brings at once.
  expect(most).toBeLessThan(200);
});
