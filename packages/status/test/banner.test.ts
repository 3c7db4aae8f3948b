import { openPage, type Page } from "@tidemark/tooling/browser";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { createMigrationSource, createStatus } from "../src/index.ts";
import { health, migration } from "./support/banner-contract.ts";
import { servePage } from "./support/page-server.ts";

const pageTest = serviceTest("chromium");
const quick = 'poll-ms="50" idle-ms="50"';

const line = (page: Page, text: string | RegExp) => page.locator("tidemark-warmup-banner li", { hasText: text });
/** A page in which no time passes but what the test lets pass, however long the machine takes for it. */
async function openStill(url: string): Promise<Page> {
  const { page } = await openPage("about:blank");
  const nowMs = Date.now();
  await page.clock.install({ time: nowMs });
  // So far ahead that it is still to come.
  await page.clock.pauseAt(nowMs + 24 * 3_600_000);
  await page.goto(url);
  return page;
}

const lines = (page: Page) => page.locator("tidemark-warmup-banner li");

pageTest("it stays while anything runs, goes when all is done, and shows what begins later", async () => {
  const server = await servePage(quick);
  server.answer(200, health([migration(), migration({ name: "late", state: "registered", waitsFor: ["fill"] })]));
  const { page, complaints } = await openPage(server.url);
  await line(page, "Migration fill: 12,000 / 71,000 rows (ETA 2s)").waitFor();
  await line(page, "Migration late waits for fill").waitFor();
  const region = page.locator("tidemark-warmup-banner [role=status]");
  expect(await region.getAttribute("aria-live")).toBe("polite");
  expect(await region.getAttribute("aria-atomic")).toBe("true");
  server.answer(200, health([migration({ rowsProcessed: 50_000, etaSec: 0 })]));
  await line(page, "Migration fill: 50,000 / 71,000 rows").waitFor();
  expect(await lines(page).count()).toBe(1);
  server.answer(200, health([migration({ status: "done" })], false));
  await lines(page).first().waitFor({ state: "detached" });
  // Nothing to say, and still there: what a reader of screens hears begins in it.
  expect(await region.count()).toBe(1);
  server.answer(200, health([migration({ name: "next" })]));
  await line(page, "Migration next").waitFor();
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("a failure is sent away with its button, and the next one of the same migration shows", async () => {
  const server = await servePage(quick);
  const failed = (runNo: number, name = 'b"<i>x</i>') => {
    const endedAt = new Date(Date.now() - 1000).toISOString();
    return migration({ name, status: "failed", errorMessage: "no <b>such</b> column", endedAt, runNo });
  };
  const first = failed(1);
  server.answer(200, health([first, migration({ name: "other" })]));
  const { page } = await openPage(server.url);
  await line(page, 'Migration b"<i>x</i> FAILED: no <b>such</b> column').waitFor();
  const button = page.getByRole("button", { name: /^Dismiss: Migration b"<i>x<\/i> FAILED/ });
  await button.focus();
  await page.keyboard.press("Enter");
  await button.waitFor({ state: "detached" });
  await line(page, "Migration other").waitFor();
  const before = server.asked;
  await expect.poll(() => server.asked).toBeGreaterThan(before + 3);
  expect(await lines(page).count()).toBe(1);
  server.answer(200, health([failed(2)], false));
  await line(page, "FAILED").waitFor();
  // For as long as the page lives.
  server.answer(200, health([first], false));
  await line(page, "FAILED").waitFor({ state: "detached" });
  await page.reload();
  await line(page, "FAILED").waitFor();
});

pageTest("a failure goes ten minutes after its end by the server's clock, and one without an end stays", async () => {
  const server = await servePage('poll-ms="100000000" idle-ms="100000000"');
  // The server's clock is another one: only its own time counts.
  const nowMs = Date.now() - 3_600_000;
  const iso = (offsetMs: number) => new Date(nowMs + offsetMs).toISOString();
  server.answer(200, {
    ...health(
      [
        migration({ name: "old", status: "failed", endedAt: iso(-540_000) }),
        migration({ name: "new", status: "failed", endedAt: iso(-1000) }),
        migration({ name: "lost", status: "failed", endedAt: "yesterday" }),
      ],
      false,
    ),
    now: iso(0),
  });
  const page = await openStill(server.url);
  await line(page, "old").waitFor();
  await page.clock.runFor(59_000);
  expect(await lines(page).count()).toBe(3);
  await page.clock.runFor(2000);
  await line(page, "old").waitFor({ state: "detached" });
  await page.clock.runFor(600_000);
  await line(page, "new").waitFor({ state: "detached" });
  expect(await lines(page).allTextContents()).toEqual([expect.stringMatching(/^Migration lost FAILED/)]);
});

pageTest("what cannot be read is said at once, whatever was known before, and is gone when it can", async () => {
  const server = await servePage(`${quick} timeout-ms="1000"`);
  const port = Number(new URL(server.url).port);
  server.answer(200, health([migration()]));
  const { page } = await openPage(server.url);
  await line(page, "12,000").waitFor();
  server.answer(502, "<h1>Bad gateway</h1>");
  await line(page, "cannot be read: the server answers 502").waitFor();
  expect(await lines(page).count()).toBe(1);
  server.answer(200, "not json");
  await line(page, "cannot be read: the answer is not what was expected").waitFor();
  server.answer(200, { status: "ok" });
  await line(page, "the answer does not speak of them").waitFor();
  server.answer(200, { ...health([]), async_migrations_error: "disk I/O error" });
  await line(page, "cannot be read: disk I/O error").waitFor();
  // A health that fails for another reason still tells of migrations.
  server.answer(503, health([migration()]));
  await line(page, "12,000").waitFor();
  await server.close();
  await line(page, "the server does not answer").waitFor();
  await server.listen(port);
  await line(page, "12,000").waitFor();
  const go = server.hang();
  await line(page, "the server does not answer").waitFor();
  go();
  await line(page, "12,000").waitFor();
});

pageTest("it asks less often while nobody looks, at once when somebody does, and never twice at a time", async () => {
  const server = await servePage('poll-ms="1000" idle-ms="60000"');
  server.answer(200, (count: number) => health([migration({ rowsProcessed: count })]));
  const page = await openStill(server.url);
  await line(page, "fill: 1 /").waitFor();
  const setHidden = (isHidden: boolean) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
  const askedAfter = async (ms: number, count: number) => {
    const before = server.asked;
    await page.clock.runFor(ms);
    await expect.poll(() => server.asked - before).toBe(count);
    // The answer has come, too, and with it the next time.
    await line(page, `fill: ${server.asked} /`).waitFor();
  };
  await askedAfter(1000, 1);
  await setHidden(true);
  await askedAfter(1000, 1);
  await askedAfter(59_000, 0);
  await askedAfter(1000, 1);
  const before = server.asked;
  await setHidden(false);
  await expect.poll(() => server.asked - before).toBe(1);
  await line(page, `fill: ${server.asked} /`).waitFor();
  const go = server.hang();
  await page.clock.runFor(1000);
  await expect.poll(() => server.asked - before).toBe(2);
  await setHidden(false);
  await page.clock.runFor(5000);
  expect(server.asked - before).toBe(2);
  go();
  // All is well, and it asks on.
  server.answer(200, health([], false));
  await lines(page).first().waitFor({ state: "detached" });
  const calm = server.asked;
  server.answer(200, (count: number) => health([migration({ rowsProcessed: count })]));
  await page.clock.runFor(60_000);
  await line(page, `fill: ${calm + 1} /`).waitFor();
  // Out of the document, it stops; back in it, it goes on.
  await page.evaluate(() => {
    const banner = document.querySelector("tidemark-warmup-banner");
    banner?.remove();
    Object.assign(globalThis, { banner });
  });
  const last = server.asked;
  await page.clock.runFor(600_000);
  expect(server.asked).toBe(last);
  await page.evaluate(() => document.body.append((globalThis as unknown as { banner: Element }).banner));
  await expect.poll(() => server.asked - last).toBe(1);
});

pageTest("headers that a page has set before the module was there are sent from the first time on", async () => {
  const asked: (string | undefined)[] = [];
  const { handle } = createStatus({
    migrations: createMigrationSource({ read: () => [] }),
    showsDetails: ({ headers }) => {
      asked.push(headers["authorization"]);
      return headers["authorization"] === "Bearer known";
    },
  });
  const server = await servePage(quick, handle);
  // A document of that server without a banner.
  const { page } = await openPage(`${server.url}api/perf`);
  await page.evaluate(() => {
    const banner = document.createElement("tidemark-warmup-banner");
    document.body.append(Object.assign(banner, { headers: () => ({ authorization: "Bearer known" }) }));
  });
  await page.addScriptTag({ type: "module", url: `${server.url}warmup-banner.js` });
  await expect.poll(() => asked.length).toBeGreaterThan(0);
  expect(asked[0]).toBe("Bearer known");
  expect(await lines(page).count()).toBe(0);
});
