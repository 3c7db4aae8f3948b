import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openPage, type Page } from "@tidemark/tooling/browser";
import { freePorts } from "@tidemark/tooling/ports";
import { serviceTest } from "@tidemark/tooling/services";
import { createTopicClient } from "@tidemark/topic";
import { openReader } from "@tidemark/topic-reader";
import { openWriter } from "@tidemark/topic-writer";
import Sqlite from "better-sqlite3";
import { expect } from "vitest";
import { definitions, startDaemon, testFolder, until } from "./support.ts";

const pageTest = serviceTest("chromium");
/** Ten minutes of work for the migration `slow`, which none of these tests lets end. */
const slowRows = 60_000;

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
  // It comes back to its port, which nobody may have got meanwhile.
  const [port] = await freePorts(1);
  const storeArgs = ["--data", storeFolder, "--watch-listen", `127.0.0.1:${port}`];
  const store = await startDaemon(storeArgs);
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
  await page.locator(".link-state", { hasText: /^Live$/ }).waitFor();

  const again = await startDaemon(storeArgs);
  await again.cli(["put", "a", "two"]);
  await card.getByText("Live").waitFor();
  await row(page, "a").getByText("two").waitFor();
});

pageTest("the page says that the daemon itself is gone, and comes back with it", async () => {
  const [port] = await freePorts(1);
  const args = ["--data", testFolder(), "--listen", `127.0.0.1:${port}`];
  const daemon = await startDaemon(args);
  await daemon.cli(["put", "a", "one"]);
  const { page } = await openPage(daemon.http);
  await row(page, "a").waitFor();
  await daemon.stop("SIGKILL");
  await page.getByText("No connection to the daemon:").waitFor();
  await page.locator("main[data-stale=true]").waitFor();
  const again = await startDaemon(args);
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

pageTest("the page shows how far a consumer is with a real topic, live", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  const { page, complaints } = await openPage(`${daemon.http}#view=topics`);
  await page.getByText("No topic yet.").waitFor();
  await using client = createTopicClient(daemon.topics ?? "");
  await client.createTopic("orders", { partitions: 2, consumers: ["billing"] });
  await using writer = await openWriter({ client, topic: "orders", producerId: "shop", partitionId: 1 });
  writer.write(["a", "b", "c"]);
  await writer.flush();
  const cell = page.locator(".partitions tbody tr").nth(1).locator(".lag");
  await cell.getByText("3 messages").waitFor();
  await cell.getByText("nobody reads").waitFor();
  await using reader = await openReader({ client, topics: "orders", consumer: "billing" });
  for await (const batch of reader.read()) {
    await batch.commit();
    if (batch.data(batch.length - 1).at(0) === "c".charCodeAt(0)) break;
  }
  await cell.getByText("caught up").waitFor();
  await page.getByRole("row", { name: "/local/orders" }).getByText("all caught up").waitFor();
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("a migration that the daemon works on is seen, paused and gone on with, and shows in the banner", async () => {
  const folder = testFolder();
  const db = new Sqlite(join(folder, "app.db"));
  db.pragma("journal_mode = wal");
  db.exec("create table people (id integer primary key, length integer)");
  db.exec(`insert into people (id) values ${Array.from({ length: slowRows }, (_, id) => `(${id})`).join(", ")}`);
  const lengths = () => db.prepare("select count(length) from people").pluck().get() as number;
  const config = `export default { migrations: [{ url: "app.db", folder: ${JSON.stringify(definitions("slow"))} }, { url: "gone.db" }] };\n`;
  writeFileSync(join(folder, "tidemark.config.ts"), config);
  const daemon = await startDaemon(["--data", join(folder, "data"), "--config", join(folder, "tidemark.config.ts")]);
  const { page, complaints } = await openPage(`${daemon.http}#view=migrations`);
  // One that is not there does not hide the other.
  await page.locator(".problem", { hasText: "there is no such file" }).waitFor();
  const card = page.locator(".card", { hasText: "slow" });
  await card.getByText("Running").waitFor();
  await card.getByRole("button", { name: "Pause" }).click();
  await card.getByText("Paused").waitFor();
  // What the page says is so: nothing is written any more.
  const done = lengths();
  expect(done).toBeLessThan(slowRows);
  await daemon.cli(["put", "time", "passes"]);
  expect(lengths()).toBe(done);
  await card.getByRole("button", { name: "Go on" }).click();
  await card.getByText("Running").waitFor();
  await card.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Cancel the migration" }).click();
  await card.getByText("Cancelled").waitFor();
  // Nobody is told that all is well while a database cannot be read.
  await page.locator("tidemark-warmup-banner").getByText("cannot be read").waitFor();
  db.close();
  expect(complaints.foreign).toEqual([]);
});

pageTest("two sites that changed a key while apart show the conflict, and one press of a button ends it", async () => {
  const hub = await startDaemon(["--data", testFolder()]);
  const site = async (name: string) => {
    const folder = testFolder();
    const config = { sites: [{ name, group: "shared", topics: hub.topics, source: "store", policy: "keep" }] };
    writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify({ topics: false, ...config }));
    return startDaemon(["--data", join(folder, "data"), "--config", join(folder, "tidemark.config.json")]);
  };
  const [paris, oslo] = [await site("paris"), await site("oslo")];
  const valueAt = async (daemon: typeof paris) => (await daemon.cli(["get", "color", "--stream", "store"])).stdout;
  await paris.cli(["put", "color", "red"]);
  await until(async () => (await valueAt(oslo)) === "red\n");
  // Nobody hears of anybody for a while.
  hub.child.kill("SIGSTOP");
  await paris.cli(["put", "color", "blue"]);
  await oslo.cli(["put", "color", "green"]);
  hub.child.kill("SIGCONT");

  const { page, complaints } = await openPage(`${paris.http}#view=sites`);
  const items = page.locator(".heads li");
  await items.nth(1).waitFor();
  expect((await items.locator(".code").allTextContents()).toSorted()).toEqual(["blue", "green"]);
  await page.getByRole("link", { name: "color" }).click();
  await page.getByText("2 versions are in conflict").waitFor();
  await expect.poll(() => page.locator(".graph-ring").count()).toBe(2);
  await page.goBack();
  await items.filter({ hasText: "blue" }).getByRole("button").click();
  await items.first().waitFor({ state: "detached" });
  await until(async () => (await valueAt(oslo)) === "blue\n" && (await valueAt(paris)) === "blue\n");
  await page.goForward();
  await page.getByText("brings 2 together").waitFor();
  expect(complaints.foreign).toEqual([]);
});

pageTest("a daemon with tokens lets the page look with one, and change things with another", async () => {
  const folder = testFolder();
  const db = new Sqlite(join(folder, "app.db"));
  db.pragma("journal_mode = wal");
  db.exec("create table people (id integer primary key, length integer)");
  db.exec(`insert into people (id) values ${Array.from({ length: slowRows }, (_, id) => `(${id})`).join(", ")}`);
  db.close();
  const [reader, ruler] = ["reader-0123456789abcdef", "ruler-0123456789abcdef"];
  const config = {
    topics: false,
    tokens: [
      { name: "reader", token: reader, rights: "read" },
      { name: "ruler", token: ruler, rights: "admin" },
    ],
    migrations: [{ url: "app.db", folder: definitions("slow") }],
  };
  writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify(config));
  const daemon = await startDaemon(["--data", join(folder, "data"), "--config", join(folder, "tidemark.config.json")]);
  const { page } = await openPage(`${daemon.http}#view=migrations`);
  const dialog = page.getByRole("dialog", { name: "Token" });
  const give = async (token: string) => {
    await dialog.getByLabel("Token", { exact: true }).fill(token);
    await page.keyboard.press("Enter");
  };
  await give("nobody-0123456789abcdef");
  await page.locator(".link-state", { hasText: "Locked" }).waitFor();
  await give(reader);
  // What is told to those alone who may read, the banner asks for with the token, too.
  await page.locator("tidemark-warmup-banner li", { hasText: "Migration slow: " }).waitFor();
  const card = page.locator(".card", { hasText: "slow" });
  await card.getByText("Running").waitFor();
  await card.getByRole("button", { name: "Pause" }).click();
  await dialog.getByText('"reader" has the right to read; this needs admin.').waitFor();
  await give(ruler);
  await dialog.waitFor({ state: "detached" });
  await card.getByRole("button", { name: "Pause" }).click();
  await card.getByText("Paused").waitFor();
  expect(daemon.output().stderr).not.toContain(ruler);
});
