import { openPage } from "@tidemark/tooling/browser";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { Daemon, type Put } from "./support/daemon.ts";

const pageTest = serviceTest("chromium");
const key = (n: number) => `/key/${String(n).padStart(6, "0")}`;

async function filled(count: number): Promise<Daemon> {
  const daemon = await Daemon.open();
  for (let from = 0; from < count; from += 5_000) {
    await daemon.put(...Array.from({ length: 5_000 }, (_, i): Put => [key(from + i), `value ${from + i}`]));
  }
  return daemon;
}

const isLong = process.env["TIDEMARK_LONG"] === "1";
const count = isLong ? 100_000 : 20_000;

pageTest(
  `${count} keys are shown in pages, and walked through in order`,
  async () => {
    const daemon = await filled(count);
    const { page } = await openPage(daemon.url);
    const rows = page.locator(".keys tbody tr");
    const first = page.locator(".keys tbody th").first();
    await page.getByText(`100 keys of ${count.toLocaleString("en")}`).waitFor();
    expect(await rows.count()).toBe(100);
    await page.getByRole("button", { name: "Next" }).click();
    await expect.poll(() => first.textContent()).toBe(key(100));
    await page.getByRole("button", { name: "Next" }).click();
    await expect.poll(() => first.textContent()).toBe(key(200));
    await page.getByRole("button", { name: "Previous" }).click();
    await expect.poll(() => first.textContent()).toBe(key(100));
    // A change on another page moves nothing here; one on this page does.
    await daemon.put([key(5), "elsewhere"], [key(150), "here"]);
    await page.getByRole("row", { name: "here" }).waitFor();
    expect(await rows.count()).toBe(100);
    await page.getByRole("searchbox").fill(key(count - 100).slice(0, -2));
    await expect.poll(() => first.textContent()).toBe(key(count - 100));
  },
  180_000,
);

pageTest(
  "a flood of changes leaves the page quick and ends in the right state",
  async () => {
    const daemon = await filled(5_000);
    const { page, complaints } = await openPage(daemon.url);
    await page.getByText(/of 5,000$/).waitFor();
    await page.evaluate(() => {
      const state = { longestMs: 0, frames: 0 };
      Object.assign(globalThis, { measured: state });
      new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) state.longestMs = Math.max(state.longestMs, duration);
      }).observe({ type: "longtask" });
      const count = () => {
        state.frames++;
        requestAnimationFrame(count);
      };
      requestAnimationFrame(count);
    });
    for (let round = 1; round <= 40; round++) {
      await daemon.put(...Array.from({ length: 1_000 }, (_, i): Put => [key(i), `round ${round}`]));
    }
    await expect
      .poll(() => page.locator(".keys td.value").allTextContents(), { timeout: 60_000 })
      .toEqual(Array.from({ length: 100 }, () => "round 40"));
    const { longestMs, frames } = await page.evaluate(
      () => (globalThis as unknown as { measured: { longestMs: number; frames: number } }).measured,
    );
    expect(frames).toBeGreaterThan(10);
    // Two shared cores and no graphics card: far from a frame, but nobody waits either. What a busy machine takes says nothing.
    if (isLong) expect(longestMs).toBeLessThan(500);
    expect(complaints.messages).toEqual([]);
  },
  180_000,
);
