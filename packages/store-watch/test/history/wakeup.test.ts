import { expect, test } from "vitest";
import { Wakeup } from "../../src/history/wakeup.ts";

test("whoever looks late has missed nothing, and whoever waits is woken", async () => {
  const wakeup = new Wakeup();
  const seen = wakeup.count;
  const early = wakeup.after(seen, undefined);
  wakeup.notify();
  await early;
  // Committed between the look and the wait.
  await wakeup.after(seen, undefined);
  const next = wakeup.after(wakeup.count, undefined);
  wakeup.notify();
  await next;
});

test("waiting ends with the signal's reason, or with the end", async () => {
  const wakeup = new Wakeup();
  const controller = new AbortController();
  const reason = new Error("enough");
  const aborted = expect(wakeup.after(wakeup.count, controller.signal)).rejects.toBe(reason);
  controller.abort(reason);
  await aborted;
  await expect(wakeup.after(wakeup.count, controller.signal)).rejects.toBe(reason);
  const ending = new Error("closed");
  const waiting = expect(wakeup.after(wakeup.count, undefined)).rejects.toBe(ending);
  wakeup.end(ending);
  await waiting;
  await expect(wakeup.after(wakeup.count, undefined)).rejects.toBe(ending);
});
