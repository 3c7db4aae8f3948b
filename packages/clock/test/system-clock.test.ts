import { systemClock } from "@tidemark/clock";
import { expect, test, vi } from "vitest";

const maxChunkMs = 2 ** 31 - 1;
const activeTimers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;

test("a delay above 2^31-1 ms is waited for in full", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  try {
    const delayMs = 3 * maxChunkMs + 5;
    let fired = 0;
    systemClock.setTimer(delayMs, () => fired++);
    vi.advanceTimersByTime(delayMs - 1);
    expect(fired).toBe(0);
    vi.advanceTimersByTime(1);
    expect(fired).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

test("an infinite delay never fires and can be cancelled", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  try {
    let fired = 0;
    const timer = systemClock.setTimer(Number.POSITIVE_INFINITY, () => fired++);
    vi.advanceTimersByTime(10 * maxChunkMs);
    expect(fired).toBe(0);
    timer.cancel();
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

test("a timer keeps the process alive until it is unref'd", () => {
  const before = activeTimers();
  const timer = systemClock.setTimer(60_000, () => {});
  expect(activeTimers()).toBe(before + 1);
  timer.unref();
  expect(activeTimers()).toBe(before);
  timer.ref();
  expect(activeTimers()).toBe(before + 1);
  timer.cancel();
  expect(activeTimers()).toBe(before);
});

test("a sleep with isRef false does not keep the process alive", async () => {
  const before = activeTimers();
  const controller = new AbortController();
  const sleep = systemClock.sleep(60_000, { signal: controller.signal, isRef: false });
  expect(activeTimers()).toBe(before);
  controller.abort("enough");
  await expect(sleep).rejects.toBe("enough");
});
