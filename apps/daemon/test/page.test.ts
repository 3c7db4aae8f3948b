import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openPage, type Page } from "@tidemark/tooling/browser";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { startDaemon, testFolder } from "./support.ts";

const pageTest = serviceTest("chromium");

const row = (page: Page, key: string) =>
  page.locator(".keys tbody tr", { has: page.getByRole("rowheader", { name: key, exact: true }) });

pageTest("the page shows a key as soon as it is put, without a reload", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  const { page, complaints } = await openPage(daemon.http);
  await page.getByText("tidemark put greeting hello").first().waitFor();
  await page.locator(".stream").getByText("Live").waitFor();
  await daemon.cli(["put", "greeting", "hello"]);
  await row(page, "greeting").getByText("hello").waitFor();
  await daemon.cli(["put", "greeting", "hello, world"]);
  await row(page, "greeting").getByText("hello, world").waitFor();
  await daemon.cli(["del", "greeting"]);
  await row(page, "greeting").waitFor({ state: "detached" });
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("the page shows a key's history, what changed, and the table as of then", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  await daemon.cli(["put", "config", '{"port":80}']);
  await daemon.cli(["put", "config", '{"port":8080}']);
  await daemon.cli(["put", "later", "1"]);
  const { page } = await openPage(daemon.http);
  await row(page, "later").waitFor();
  await page.getByRole("link", { name: "config", exact: true }).click();
  await page.locator("label", { hasText: "Changes" }).click();
  await page.locator(".diff-line[data-kind=added]").waitFor();
  expect(await page.locator(".diff-line[data-kind=removed] mark").allTextContents()).toEqual(["80"]);
  expect(await page.locator(".diff-line[data-kind=added] mark").allTextContents()).toEqual(["8080"]);
  const travel = page.getByRole("button", { name: "show the whole table as of version" });
  await travel.last().click();
  await row(page, "later").waitFor({ state: "detached" });
  await row(page, "config").getByText('{"port":80}').waitFor();
});

pageTest("the page tells that a killed store is being reconnected to, and that it is back", async () => {
  const storeFolder = testFolder();
  const store = await startDaemon(["--data", storeFolder]);
  await store.cli(["put", "a", "one"]);
  const folder = testFolder();
  const url = store.watch ?? "";
  const config = `export default { store: false, sources: [{ kind: "watch", name: "other", url: ${JSON.stringify(url)} }] };\n`;
  writeFileSync(join(folder, "tidemark.config.ts"), config);
  const daemon = await startDaemon(["--data", join(folder, "data"), "--config", join(folder, "tidemark.config.ts")]);
  const { page } = await openPage(daemon.http);
  const card = page.locator(".stream");
  await card.getByText("Live").waitFor();
  await row(page, "a").getByText("one").waitFor();

  await store.stop("SIGKILL");
  await card.getByText("Reconnecting").waitFor();
  await card.locator(".problem").waitFor();
  // The page's own connection is fine, and it says so.
  expect(await page.locator(".link-state").textContent()).toBe("Live");

  const again = await startDaemon(["--data", storeFolder, "--watch-listen", new URL(url).host]);
  await again.cli(["put", "a", "two"]);
  await card.getByText("Live").waitFor();
  await row(page, "a").getByText("two").waitFor();
});

pageTest("the page says that the daemon itself is gone, and comes back with it", async () => {
  const data = testFolder();
  const daemon = await startDaemon(["--data", data]);
  await daemon.cli(["put", "a", "one"]);
  const { page } = await openPage(daemon.http);
  await row(page, "a").waitFor();
  await daemon.stop("SIGKILL");
  await page.getByText("No connection to the daemon:").waitFor();
  await page.locator("main[data-stale=true]").waitFor();
  const again = await startDaemon(["--data", data, "--listen", new URL(daemon.http).host]);
  await page.locator("main[data-stale=false]").waitFor();
  await again.cli(["put", "a", "two"]);
  await row(page, "a").getByText("two").waitFor();
});

pageTest("markup in a key or a value is text on the page", async () => {
  const evil = '<img src=x onerror="globalThis.pwned=1">';
  const daemon = await startDaemon(["--data", testFolder()]);
  await daemon.cli(["put", evil, evil]);
  const { page, complaints } = await openPage(daemon.http);
  await row(page, evil).locator("a").click();
  await page.locator(".timeline").waitFor();
  expect(await page.locator("main img").count()).toBe(0);
  expect(await page.evaluate(() => (globalThis as { pwned?: number }).pwned)).toBe(undefined);
  expect(complaints).toEqual({ messages: [], foreign: [] });
});
