import { AsyncQueue } from "@tidemark/stream";
import fc from "fast-check";
import { expect, test } from "vitest";

test("keeps order and tells a producer when there is enough", async () => {
  const queue = new AsyncQueue<number>({ highWaterMark: 3 });
  expect([1, 2, 3, 4].map((n) => queue.push(n))).toEqual([true, true, false, false]);
  const ready = queue.ready().then(() => "ready");
  const items = queue[Symbol.asyncIterator]();
  expect(await items.next()).toEqual({ done: false, value: 1 });
  expect(queue.isReady).toBe(false);
  expect(await items.next()).toEqual({ done: false, value: 2 });
  expect(await ready).toBe("ready");
  queue.close();
  expect(queue.push(5)).toBe(false);
  expect([await items.next(), await items.next(), await items.next()]).toEqual([
    { done: false, value: 3 },
    { done: false, value: 4 },
    { done: true, value: undefined },
  ]);
});

test("counts what items weigh", () => {
  const queue = new AsyncQueue<string>({ highWaterMark: 10, sizeOf: (item) => item.length });
  expect(queue.push("12345")).toBe(true);
  expect(queue.push("67890")).toBe(false);
  expect(queue).toMatchObject({ size: 10, length: 2 });
  expect(queue.takeAll()).toEqual(["12345", "67890"]);
  expect(queue).toMatchObject({ size: 0, length: 0, isReady: true });
});

test("takes everything that waits at once", async () => {
  const queue = new AsyncQueue<number>();
  const readable = queue.readable();
  for (const n of [1, 2, 3]) queue.push(n);
  expect(await readable).toBe(true);
  const items = queue[Symbol.asyncIterator]();
  await items.next();
  expect(queue.takeAll()).toEqual([2, 3]);
  expect(queue.takeAll()).toEqual([]);
  queue.close();
  expect(await queue.readable()).toBe(false);
});

test("an error reaches both sides, and only the first end counts", async () => {
  const queue = new AsyncQueue<number>({ highWaterMark: 1 });
  queue.push(1);
  const ready = queue.ready();
  const failure = new Error("broken");
  queue.fail(failure);
  queue.close();
  queue.fail(new Error("later"));
  await expect(ready).rejects.toBe(failure);
  await expect(queue.ready()).rejects.toBe(failure);
  await expect(queue.readable()).rejects.toBe(failure);
  await expect(queue[Symbol.asyncIterator]().next()).rejects.toBe(failure);
  expect(queue).toMatchObject({ length: 0, isOpen: false });
});

test("leaving the loop cancels the queue and wakes producers", async () => {
  const queue = new AsyncQueue<number>({ highWaterMark: 1 });
  queue.push(1);
  queue.push(2);
  const ready = queue.ready();
  for await (const item of queue) if (item === 1) break;
  await expect(ready).rejects.toMatchObject({ code: "CLOSED" });
  expect(queue.push(3)).toBe(false);
  expect(queue.length).toBe(0);
});

test("heeds signals on both sides", async () => {
  const queue = new AsyncQueue<number>({ highWaterMark: 1 });
  const controller = new AbortController();
  const readable = queue.readable(controller.signal);
  controller.abort(new Error("enough"));
  await expect(readable).rejects.toThrow("enough");
  queue.push(1);
  await expect(queue.ready(controller.signal)).rejects.toThrow("enough");
  expect(() => new AsyncQueue({ highWaterMark: 0 })).toThrow("highWaterMark must be above 0, got 0");
});

test("loses, repeats and reorders nothing, however it is used", async () => {
  const op = fc.constantFrom("push", "push", "push", "next", "takeAll");
  await fc.assert(
    fc.asyncProperty(fc.array(op, { maxLength: 4000, size: "max" }), async (ops) => {
      const queue = new AsyncQueue<number>({ highWaterMark: 5 });
      const items = queue[Symbol.asyncIterator]();
      const got: number[] = [];
      let pushed = 0;
      for (const each of ops) {
        if (each === "push") queue.push(pushed++);
        else if (each === "takeAll") got.push(...queue.takeAll());
        else if (queue.length > 0) got.push((await items.next()).value as number);
        expect(queue.length).toBe(pushed - got.length);
      }
      got.push(...queue.takeAll());
      expect(got).toEqual(Array.from({ length: pushed }, (_, n) => n));
    }),
    { numRuns: 30 },
  );
});

test("a queue that is emptied while its consumer wakes up gives it no item that is not there", async () => {
  for (const empty of ["cancel", "takeAll"] as const) {
    for (let microtasks = 0; microtasks < 8; microtasks++) {
      const queue = new AsyncQueue<number>();
      const next = queue[Symbol.asyncIterator]().next();
      queue.push(1);
      for (let n = 0; n < microtasks; n++) await Promise.resolve();
      queue[empty]();
      queue.close();
      const step = await next;
      expect(step, `${empty} after ${microtasks}`).toEqual(
        step.done === true ? { done: true, value: undefined } : { done: false, value: 1 },
      );
      expect(queue.size).toBe(0);
    }
  }
});
