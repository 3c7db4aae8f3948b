import { create } from "@bufbuild/protobuf";
import { openPage, type Page } from "@tidemark/tooling/browser";
import { freePorts } from "@tidemark/tooling/ports";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { LastAuditSchema, SourceFactSchema } from "../src/gen/tidemark/admin/v1/admin_pb.ts";
import { Daemon, openLine } from "./support/daemon.ts";

const pageTest = serviceTest("chromium");

const row = (page: Page, key: string) =>
  page.locator(".keys tbody tr", { has: page.getByRole("rowheader", { name: key, exact: true }) });
const keysOf = (page: Page) => page.locator(".keys tbody th").allTextContents();
const openKey = async (page: Page, key: string) => {
  await page.getByRole("link", { name: key, exact: true }).click();
  await page.locator(".timeline").waitFor();
};

pageTest("a newcomer is told what to try, and sees the first key without a reload", async () => {
  const daemon = await Daemon.open();
  const { page, complaints } = await openPage(daemon.url);
  // What is suggested works as it stands: the command as it is called here, and where this daemon is.
  await page.getByText(`npx tidemark put greeting hello --connect ${new URL(daemon.url).origin}`).waitFor();
  await page.evaluate(() => Object.assign(globalThis, { isSamePage: true }));
  await daemon.put(["greeting", "hello"]);
  await row(page, "greeting").getByText("hello").waitFor();
  await daemon.put(["greeting", "hello, world"]);
  await row(page, "greeting").getByText("hello, world").waitFor();
  await daemon.put(["greeting", null]);
  await row(page, "greeting").waitFor({ state: "detached" });
  expect(await page.evaluate(() => (globalThis as { isSamePage?: boolean }).isSamePage)).toBe(true);
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("a change is marked, moves into its place in the order, and is told in the latest changes", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "1"], ["c", "3"]);
  const { page } = await openPage(daemon.url);
  await row(page, "c").waitFor();
  await daemon.put(["b", "2"]);
  await row(page, "b").waitFor();
  expect(await keysOf(page)).toEqual(["a", "b", "c"]);
  expect(await row(page, "b").getAttribute("data-fresh")).toMatch(/even|odd/);
  await page.locator(".changes li").nth(2).waitFor();
  expect(await page.locator(".change-key").allTextContents()).toEqual(["b", "c", "a"]);
});

pageTest("the filter shows only keys with that beginning, also as they come", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["/a/1", "x"], ["/a/2", "x"], ["/b/1", "x"]);
  const { page } = await openPage(daemon.url);
  await row(page, "/b/1").waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("/a/");
  await row(page, "/b/1").waitFor({ state: "detached" });
  await daemon.put(["/a/3", "x"], ["/b/2", "x"]);
  await row(page, "/a/3").waitFor();
  expect(await keysOf(page)).toEqual(["/a/1", "/a/2", "/a/3"]);
  expect(page.url()).toContain("#prefix=%2Fa%2F");
  await page.getByRole("searchbox").fill("/nothing");
  await page.getByText("No key begins with /nothing.").waitFor();
});

pageTest("deleted keys are shown where they are asked for", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "1"], ["b", "2"]);
  await daemon.put(["a", null]);
  const { page } = await openPage(daemon.url);
  await row(page, "b").waitFor();
  expect(await keysOf(page)).toEqual(["b"]);
  await page.getByLabel("Deleted").check();
  await row(page, "a").getByText("deleted").waitFor();
});

pageTest("a key's versions, and what differs between any two of them", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["config", '{"port":80,"hosts":["one"]}']);
  await daemon.put(["config", '{"port":8080,"hosts":["one"]}']);
  await daemon.put(["config", '{"port":8080,"hosts":["one","two"]}']);
  const { page } = await openPage(daemon.url);
  await openKey(page, "config");
  const value = page.getByLabel("Value", { exact: true });
  expect(await page.locator("pre.value-text").textContent()).toBe(
    '{\n  "port": 8080,\n  "hosts": [\n    "one",\n    "two"\n  ]\n}',
  );
  expect(await value.count()).toBeGreaterThan(0);

  await page.locator("label", { hasText: "Changes" }).click();
  await page.getByText("From version 2 to 3").waitFor();
  expect(
    await page.locator(".diff-line[data-kind=added] mark, .diff-line[data-kind=added] code").allTextContents(),
  ).toContain('added:     "two"');
  await page.getByLabel("Compare with version 1").check();
  await page.getByText("From version 1 to 3").waitFor();

  await page.getByLabel("Show version 2").check();
  await page.getByText("From version 1 to 2").waitFor();
  expect(await page.locator(".diff-line[data-kind=removed] mark").allTextContents()).toEqual(["80"]);
  expect(await page.locator(".diff-line[data-kind=added] mark").allTextContents()).toEqual(["8080"]);

  // A new version comes while the history is open; what was chosen stays.
  await daemon.put(["config", '{"port":1}']);
  await page.getByLabel("Show version 4").waitFor();
  expect(await page.getByLabel("Show version 2").isChecked()).toBe(true);
});

pageTest("an open key follows its newest version", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "one"]);
  const { page } = await openPage(daemon.url);
  await openKey(page, "a");
  await daemon.put(["a", "two"]);
  await page.locator("pre.value-text", { hasText: "two" }).waitFor();
  expect(await page.getByLabel("Show version 2").isChecked()).toBe(true);
});

pageTest("binary values are shown as bytes, and compared so", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["bin", Uint8Array.of(0xff, 0, 1, 2)]);
  await daemon.put(["bin", Uint8Array.of(0xff, 0, 1, 3)]);
  const { page } = await openPage(daemon.url);
  await openKey(page, "bin");
  expect(await page.locator("pre.value-text").textContent()).toContain("ff 00 01 03");
  await page.locator("label", { hasText: "Changes" }).click();
  await page.locator(".diff-line[data-kind=removed]", { hasText: "ff 00 01 02" }).waitFor();
});

pageTest("the table shows any moment, and goes back to now", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "one"]);
  await daemon.put(["b", "one"]);
  await daemon.put(["a", "two"]);
  const { page } = await openPage(daemon.url);
  await openKey(page, "a");
  await page.getByRole("button", { name: "show the whole table as of version 1" }).click();
  await page.getByText("position 1,").first().waitFor();
  await row(page, "b").waitFor({ state: "detached" });
  await row(page, "a").getByText("one").waitFor();
  await expect.poll(() => page.locator("pre.value-text").textContent()).toBe("one");
  // What comes meanwhile is counted, not shown.
  await daemon.put(["c", "new"]);
  await page.locator(".keys").getByText("Meanwhile 1 more change came").waitFor();
  expect(await keysOf(page)).toEqual(["a"]);
  expect(page.url()).toContain("position=1");
  await page.locator(".keys .past-note").getByRole("button", { name: "What is different now" }).click();
  const dialog = page.getByRole("dialog", { name: "What is different now" });
  await dialog.getByText("3 keys are not what they were:").waitFor();
  expect(await dialog.getByRole("listitem").allTextContents()).toEqual(["achangedone → two", "bnewone", "cnewnew"]);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await page.locator(".keys .past-note").getByRole("button", { name: "Back to now" }).click();
  await row(page, "c").waitFor();
  await expect.poll(() => keysOf(page)).toEqual(["a", "b", "c"]);
  // The browser's back button is the way to the past again.
  await page.goBack();
  await row(page, "c").waitFor({ state: "detached" });
  await expect.poll(() => keysOf(page)).toEqual(["a"]);
});

pageTest("the time slider goes back in time by keyboard", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "one"]);
  const { page } = await openPage(daemon.url);
  await row(page, "a").waitFor();
  const slider = page.getByRole("slider", { name: "Moment that the table shows" });
  await expect.poll(() => slider.isEnabled()).toBe(true);
  expect(await slider.getAttribute("aria-valuetext")).toBe("now");
  await slider.focus();
  await page.keyboard.press("ArrowLeft");
  await page.locator(".time-bar[data-past=true]").waitFor();
  expect(await slider.getAttribute("aria-valuetext")).toMatch(/ago|just now/);
  await page.keyboard.press("End");
  await page.locator(".time-bar[data-past=false]").waitFor();
});

pageTest("a link to a key and a moment opens both", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "one"]);
  await daemon.put(["a", "two"]);
  const { page } = await openPage(`${daemon.url}#stream=store&position=1&key=a`);
  await page.locator("pre.value-text", { hasText: "one" }).waitFor();
  await row(page, "a").getByText("one").waitFor();
});

pageTest("a lost connection is said at once and greys out; it comes back by itself", async () => {
  const [port = 0] = await freePorts(1);
  const daemon = await Daemon.open({ port });
  await daemon.put(["a", "one"]);
  const { page } = await openPage(daemon.url);
  await row(page, "a").waitFor();
  await daemon.close();
  await page.getByText("No connection to the daemon:").waitFor();
  await page.locator("main[data-stale=true]").waitFor();
  await page.getByText("Last known:").first().waitFor();
  await expect.poll(() => page.title()).toBe("Disconnected – Tidemark");
  await page.locator(".link-state", { hasText: /^Disconnected$/ }).waitFor();
  await daemon.put(["a", "two"], ["b", "while away"]);
  expect(await row(page, "a").locator("td.value").textContent()).toBe("one");
  await daemon.listen(port);
  await page.locator("main[data-stale=false]").waitFor();
  await row(page, "b").getByText("while away").waitFor();
  await expect.poll(() => row(page, "a").locator("td.value").textContent()).toBe("two");
  await page.getByText("No connection to the daemon:").waitFor({ state: "detached" });
});

pageTest("a line that is frozen is noticed although nobody is told", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "one"]);
  const line = await openLine(daemon.port);
  const { page } = await openPage(line.url);
  await row(page, "a").waitFor();
  line.freeze();
  await page.locator("main[data-stale=true]").waitFor();
  await daemon.put(["a", "two"]);
  line.thaw();
  await row(page, "a").getByText("two").waitFor();
  await page.locator("main[data-stale=false]").waitFor();
});

pageTest("a tab in the background lets go of its connections, and catches up when it is looked at", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "one"]);
  const { page } = await openPage("about:blank");
  await page.clock.install();
  await page.goto(daemon.url);
  await row(page, "a").waitFor();
  await expect.poll(() => daemon.watching).toBe(1);
  const setVisibility = (state: string) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "visibilityState", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
      return Date.now();
    }, state);
  const hiddenAtMs = await setVisibility("hidden");
  await page.clock.fastForward(9_000);
  const { watching } = daemon;
  // The page's clock also goes on by itself: it may let go only when its ten seconds are over by then.
  const hiddenForMs = (await page.evaluate(() => Date.now())) - hiddenAtMs;
  if (hiddenForMs < 10_000) expect(watching).toBe(1);
  await page.clock.fastForward(1_500);
  await expect.poll(() => daemon.watching).toBe(0);
  await daemon.put(["a", "two"], ["b", "new"]);
  await setVisibility("visible");
  await row(page, "b").waitFor();
  await row(page, "a").getByText("two").waitFor();
  await expect.poll(() => daemon.watching).toBe(1);
  await expect.poll(() => page.locator(".link-state").textContent()).toBe("Live");
});

pageTest("a stream's trouble is told in plain words", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "1"]);
  const { page } = await openPage(daemon.url);
  const card = page.locator(".stream");
  await card.getByText("Live").waitFor();
  daemon.setFacts({
    state: "reconnecting",
    problem: "etcd does not answer. Is it running?",
    lagP99Ms: 12.3,
    changesPerSecond: 42,
  });
  await card.getByText("Reconnecting").waitFor();
  await card.getByText("etcd does not answer. Is it running?").waitFor();
  await card.getByText("12 ms").waitFor();
  await page.getByRole("img", { name: /^Changes a second over the last 2 minutes: now 42\/s/ }).waitFor();
  expect(await page.title()).toBe("(1) Tidemark");
  daemon.setFacts({ state: "live", problem: "" });
  await card.getByText("Live").waitFor();
});

pageTest("what a source counts, and how its last audit ended, is a row of its own", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "1"]);
  const { page } = await openPage(daemon.url);
  const facts = page.getByLabel("What the source of store counts");
  await page.locator(".stream").getByText("Live").waitFor();
  expect(await facts.count()).toBe(0);
  daemon.setFacts({
    sourceFacts: [
      create(SourceFactSchema, { name: "leaves", value: { case: "count", value: 577n } }),
      create(SourceFactSchema, { name: "out of order", value: { case: "count", value: 3n }, notable: true }),
      create(SourceFactSchema, {
        name: "instead of on_change",
        value: { case: "text", value: "sample" },
        notable: true,
      }),
    ],
    lastAudit: create(LastAuditSchema, { verdict: "different", differences: 2n, atMs: BigInt(Date.now() - 90_000) }),
  });
  await facts.waitFor();
  const shown = await facts.locator("dl > div").allTextContents();
  expect(shown.slice(0, 3)).toEqual(["Leaves577", "Out of order3", "Instead of on_changesample"]);
  expect(shown[3]).toMatch(/^Audit \d+ .* agoDifferent, 2 keys$/);
  expect(await facts.locator("dd.bad").allTextContents()).toEqual(["3", "sample", "Different, 2 keys"]);
});

pageTest("gaps are listed with their reasons", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "1"]);
  await daemon.tell({ type: "gap", reason: "compacted", detail: "Up to revision 90 is gone.", from: "b10", to: "b90" });
  const { page } = await openPage(daemon.url);
  const button = page.getByRole("button", { name: "1 gaps in store: show" });
  await button.click();
  const dialog = page.getByRole("dialog", { name: "Gaps in store" });
  await dialog.getByText("Up to revision 90 is gone.").waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await expect.poll(() => button.evaluate((element) => element === document.activeElement)).toBe(true);
});

pageTest("a quarantined change is retried, and skipped for a reason", async () => {
  const daemon = await Daemon.open();
  await daemon.tell({
    type: "poison",
    key: Buffer.from("broken"),
    raw: Buffer.from("{"),
    error: "It is no JSON.",
    version: "b99",
  });
  const { page } = await openPage(daemon.url);
  await page.getByRole("button", { name: "1 in quarantine in store: show" }).click();
  const dialog = page.getByRole("dialog", { name: "Quarantine of store" });
  await dialog.getByText("It is no JSON.").waitFor();
  await dialog.getByRole("button", { name: "Skip: broken" }).click();
  // No reason, no skipping.
  expect(await dialog.getByText("It is no JSON.").count()).toBe(1);
  await dialog.getByLabel("or skip it, because").fill("nobody reads it");
  await dialog.getByRole("button", { name: "Skip: broken" }).click();
  await dialog.getByText("Nothing is left in quarantine.").waitFor();
  const [item] = await daemon.history.quarantine("store", { includeResolved: true });
  expect(item).toMatchObject({ state: "skipped", resolution: "nobody reads it" });
});

pageTest("markup in keys, values and problems is text, and nothing of it runs", async () => {
  const daemon = await Daemon.open();
  const evil = '<img src=x onerror="globalThis.pwned=1"><script>globalThis.pwned=1</script>';
  await daemon.put([evil, evil], ["javascript:alert(1)", `{"a":"${evil.replaceAll('"', '\\"')}"}`]);
  await daemon.put([evil, `${evil} changed`]);
  daemon.setFacts({ problem: evil, description: evil, state: "reconnecting" });
  const { page, complaints } = await openPage(daemon.url);
  await row(page, evil).locator("a").click();
  await page.locator(".timeline").waitFor();
  await page.locator("label", { hasText: "Changes" }).click();
  await page.locator(".diff-line").first().waitFor();
  expect(await page.locator("pre, .diff, .keys, .problem, .changes").locator("img, script").count()).toBe(0);
  expect(await page.locator("script").count()).toBe(1);
  expect(await page.evaluate(() => (globalThis as { pwned?: number }).pwned)).toBe(undefined);
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("a key that would pose as another shows what it is", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["admin\u200b", "1"], ["cod\u202egpj.exe", "2"], [Uint8Array.of(0xff, 0x41), "3"]);
  const { page } = await openPage(daemon.url);
  await row(page, "admin\\u200b").waitFor();
  expect(await keysOf(page)).toEqual(["admin\\u200b", "cod\\u202egpj.exe", "\\xffA"]);
  await page.getByRole("link", { name: "\\xffA" }).click();
  await page.locator("pre.value-text", { hasText: "3" }).waitFor();
});

pageTest("everything can be done by keyboard", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "1"], ["b", "2"], ["c", "3"]);
  const { page } = await openPage(daemon.url);
  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
  await row(page, "c").waitFor();
  await page.getByRole("link", { name: "a", exact: true }).focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  expect(await focused()).toBe("c");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.locator(".timeline").waitFor();
  // The focus is where the content is, and goes back where it came from.
  await expect.poll(focused).toBe("b");
  await expect.poll(() => page.evaluate(() => document.activeElement?.tagName)).toBe("H2");
  await page.keyboard.press("Escape");
  await page.locator(".timeline").waitFor({ state: "detached" });
  await expect.poll(() => page.evaluate(() => document.activeElement?.tagName)).toBe("A");
  expect(await focused()).toBe("b");
});
