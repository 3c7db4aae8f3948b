import { openPage, type Page } from "@tidemark/tooling/browser";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { ControlMigrationRequest_Action as Action } from "../src/gen/tidemark/admin/v1/admin_pb.ts";
import { Daemon } from "./support/daemon.ts";
import { migration, site, topicsAt } from "./support/operations.ts";
import { twoGraphs } from "./support/two-graphs.ts";

const pageTest = serviceTest("chromium");
const topicsUrl = "grpc://127.0.0.1:2136/local";
const go = (page: Page, name: string) => page.getByRole("navigation").getByRole("link", { name }).click();

/** How many dots of a plot are not empty, by the canvas itself. */
const inked = (page: Page, title: string) =>
  page.locator(".plot", { hasText: title }).evaluate((figure) => {
    const canvas = figure.querySelector("canvas");
    const { width = 0, height = 0 } = canvas ?? {};
    const swatch = figure.querySelector(".swatch");
    const wanted = (swatch === null ? "" : getComputedStyle(swatch).color).match(/\d+/g)?.map(Number) ?? [];
    // A copy, so that the canvas of the page stays what it is.
    const copy = document.createElement("canvas");
    Object.assign(copy, { width, height });
    const context = copy.getContext("2d", { willReadFrequently: true });
    if (canvas !== null) context?.drawImage(canvas, 0, 0);
    const { data } = context?.getImageData(0, 0, width, height) ?? { data: [] };
    let dots = 0;
    for (let at = 0; at < data.length; at += 4) {
      if ((data[at + 3] ?? 0) < 200) continue;
      if (wanted.every((value, channel) => Math.abs((data[at + channel] ?? 0) - value) < 24)) dots++;
    }
    return dots;
  });

pageTest("throughput and lag of every source are plotted from what the daemon pushes", async () => {
  const daemon = await Daemon.open();
  const { page, complaints } = await openPage(daemon.url);
  await go(page, "Sources");
  expect(page.url()).toContain("view=streams");
  const plot = page.locator(".plot", { hasText: "Changes a second" });
  await plot.waitFor();
  daemon.setFacts({ changesPerSecond: 40, lagP99Ms: 12 });
  await plot.getByRole("row", { name: "store" }).getByText("40/s").first().waitFor();
  const before = await inked(page, "Changes a second");
  daemon.setFacts({ changesPerSecond: 90, lagP99Ms: 7 });
  await plot.getByRole("row", { name: "store" }).getByText("90/s").first().waitFor();
  // The line is really drawn, in the colour that the legend says, and grows.
  await expect.poll(() => inked(page, "Changes a second")).toBeGreaterThan(before);
  await expect.poll(() => inked(page, "Lag until committed")).toBeGreaterThan(0);
  const label = await plot.getByRole("img").getAttribute("aria-label");
  expect(label).toBe("Changes a second, the last 2 minutes. Now: store 90/s");
  // A dark canvas has the colours of the dark.
  await page.emulateMedia({ colorScheme: "dark" });
  await expect.poll(() => inked(page, "Changes a second")).toBeGreaterThan(0);
  // The value at the pointer takes the place of the present one.
  const box = await plot.locator(".u-over").boundingBox();
  await page.mouse.move((box?.x ?? 0) + (box?.width ?? 0) - 2, (box?.y ?? 0) + 40);
  await plot.locator("thead", { hasText: /\d\d:\d\d:\d\d/ }).waitFor();
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("plots begin with what the daemon saw before the page was opened", async () => {
  const daemon = await Daemon.open();
  const nowMs = Date.now();
  const at = Array.from({ length: 30 }, (_, index) => nowMs - 60_000 + index * 2_000);
  daemon.does({
    samples: {
      atMs: at.map(BigInt),
      streams: [
        {
          name: "store",
          changesPerSecond: at.map((_, index) => (index === 10 ? 777 : 5)),
          lagP99Ms: at.map(() => Number.NaN),
        },
      ],
    },
  });
  const { page } = await openPage(`${daemon.url}#view=streams`);
  await page.locator(".plot", { hasText: "Changes a second" }).getByText("777/s").waitFor();
  // Readings of a minute are wide; those of the moment since are not.
  await expect.poll(() => inked(page, "Changes a second")).toBeGreaterThan(300);
});

pageTest("a topic's consumers are shown by partition, and their lag is plotted", async () => {
  const daemon = await Daemon.open();
  daemon.does({ status: { topicsUrl }, topics: topicsAt(1_000, 900) });
  const { page, complaints } = await openPage(daemon.url);
  await go(page, "Topics");
  await page.getByRole("row", { name: "/local/orders" }).getByText("billing: 100 messages, 1 s").waitFor();
  // The first one is open by itself; then the one that is chosen, and the address says so.
  await page.locator("#topic-title", { hasText: "/local/audit" }).waitFor();
  await page.getByRole("link", { name: "/local/orders" }).click();
  await page.locator("#topic-title", { hasText: "/local/orders" }).waitFor();
  expect(page.url()).toContain("topic=%2Flocal%2Forders");
  const partition = page.locator(".partitions tbody tr").nth(1);
  await partition.getByText("100 messages, 1 s").waitFor();
  expect(await page.locator(".partitions tbody tr").nth(2).textContent()).toContain("nobody reads");
  const plot = page.locator(".plot", { hasText: "Messages not committed yet" });
  await plot.getByRole("row", { name: "billing" }).getByText("100").first().waitFor();
  daemon.does({ topics: topicsAt(1_500, 900) });
  await plot.getByRole("row", { name: "billing" }).getByText("600").first().waitFor();
  await expect.poll(() => inked(page, "Messages not committed yet")).toBeGreaterThan(0);
  // What was written in between is a rate.
  await page
    .locator(".plot", { hasText: "Messages written a second" })
    .getByRole("row", { name: "written" })
    .getByText(/^\d+(\.\d+)?\/s$/)
    .first()
    .waitFor();
  await page.goBack();
  await page.locator("#topic-title", { hasText: "/local/audit" }).waitFor();
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("a migration can be paused, gone on with, cancelled and tried again", async () => {
  const daemon = await Daemon.open();
  const asked: Action[] = [];
  const after: Partial<Record<Action, string>> = {
    [Action.PAUSE]: "paused",
    [Action.RESUME]: "running",
    [Action.CANCEL]: "cancelled",
    [Action.RETRY]: "running",
  };
  const show = (state: string) => {
    const now = migration({ state });
    daemon.does({ migrations: { databases: [{ name: "app.db", migrations: [now] }] } });
    return now;
  };
  show("running");
  daemon.does({
    status: { migrationDatabases: 1 },
    control: ({ action }) => {
      asked.push(action);
      return show(after[action] ?? "");
    },
  });
  const { page, complaints } = await openPage(daemon.url);
  await go(page, "Migrations");
  const card = page.locator(".card", { hasText: "add-last-seen" });
  await card.getByText("420,000 of about 1,000,000 (42 %)").waitFor();
  expect(await card.getByRole("progressbar").getAttribute("aria-valuenow")).toBe("42");
  // By keyboard: the focus stays where it is while the button becomes another one.
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
  await card.getByRole("button", { name: "Pause" }).focus();
  await page.keyboard.press("Enter");
  await card.getByText("Paused").waitFor();
  await expect.poll(focused).toBe("Go on: add-last-seen");
  await expect.poll(() => page.locator("[aria-live]").first().textContent()).toBe("Migration add-last-seen is paused.");
  await page.keyboard.press("Space");
  await card.getByText("Running").waitFor();
  // Cancelling is asked about, and not done by closing the question.
  await card.getByRole("button", { name: "Cancel: add-last-seen" }).click();
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await card.getByRole("button", { name: "Cancel: add-last-seen" }).click();
  await page.getByRole("button", { name: "Cancel the migration" }).click();
  await card.getByText("Cancelled").waitFor();
  await expect.poll(focused).toBe("Try again: add-last-seen");
  await page.keyboard.press("Enter");
  await card.getByText("Running").waitFor();
  expect(asked).toEqual([Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY]);
  expect(complaints.foreign).toEqual([]);
});

pageTest("rows in quarantine are shown, and can be left as they are", async () => {
  const daemon = await Daemon.open();
  const failed = migration({
    state: "failed",
    rowsQuarantined: 1n,
    errorCode: "QUARANTINED",
    errorMessage: "1 row is in quarantine",
  });
  daemon.does({
    status: { migrationDatabases: 1 },
    migrations: { databases: [{ name: "app.db", migrations: [failed] }] },
    rows: [{ key: "[42]", error: "no such country: XX", skipped: false }],
  });
  const { page } = await openPage(daemon.url);
  await page.getByRole("navigation").getByText("1 need a look").waitFor({ state: "attached" });
  await go(page, "Migrations");
  await page.getByRole("button", { name: "1 row in quarantine of add-last-seen: show" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("no such country: XX").waitFor();
  await dialog.getByRole("button", { name: "Leave it as it is: [42]" }).click();
  await dialog.getByText("Accepted: it stays as it is.").waitFor();
});

pageTest("the banner of migrations is on every part of the page", async () => {
  const daemon = await Daemon.open();
  const nowMs = Date.now();
  daemon.samples = [
    {
      name: "add-last-seen",
      state: "running",
      storedState: "running",
      runNo: 1,
      rowsDone: 500,
      rowsChanged: 500,
      rowsQuarantined: 0,
      total: 1_000,
      totalKind: "exact",
      progress: 0.5,
      chunks: 5,
      rowsPerSecond: 50,
      etaMs: 10_000,
      yieldShare: 0,
      startedAt: nowMs - 10_000,
      endedAt: undefined,
      heartbeatAt: nowMs,
      heartbeatMs: 600_000,
      updatedAt: nowMs,
      readAt: nowMs,
      owner: "me",
      throttleReason: undefined,
      error: undefined,
      waitsFor: [],
    },
  ];
  daemon.does({ status: { migrationDatabases: 1 } });
  const { page, complaints } = await openPage(daemon.url);
  await page.getByText("Migration add-last-seen: 500 / 1,000 rows (ETA 10s)").waitFor();
  await go(page, "Sources");
  await page.locator(".plot").first().waitFor();
  expect(await page.getByText("Migration add-last-seen: 500 / 1,000 rows (ETA 10s)").count()).toBe(1);
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("a site shows what it has of the others, and a conflict is ended by a person", async () => {
  const daemon = await Daemon.open();
  const conflict = {
    key: Buffer.from("color"),
    heads: [
      { position: 9n, origin: "oslo-7c", generation: 17n, value: Buffer.from("green") },
      { position: 8n, origin: "paris-1f", generation: 43n, value: Buffer.from("blue") },
    ],
  };
  const resolved: unknown[] = [];
  daemon.does({
    status: { sites: 1 },
    sites: { sites: [site({ conflicts: 1 })] },
    conflicts: { conflicts: [conflict] },
    resolve: ({ site: name, key, heads, take }) => {
      resolved.push([name, Buffer.from(key).toString(), heads, take]);
      daemon.does({ sites: { sites: [site({ conflicts: 0 })] }, conflicts: {} });
    },
  });
  const { page, complaints } = await openPage(daemon.url);
  await go(page, "Sites");
  await page.getByRole("row", { name: "oslo-7c" }).getByText("2 wait for what comes before them").waitFor();
  await page.getByRole("row", { name: "paris-1f" }).getByText("2 not published yet").waitFor();
  await page.getByRole("button", { name: "Take this: color by paris-1f (here)" }).click();
  await page.getByRole("button", { name: "Take this" }).first().waitFor({ state: "detached" });
  await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe("paris");
  expect(resolved).toEqual([["paris", "color", [9n, 8n], 8n]]);
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("the versions that several sites made of a key are a graph, with what is in conflict", async () => {
  const daemon = await Daemon.open();
  const { decide } = await twoGraphs(daemon);
  const { page, complaints } = await openPage(`${daemon.url}#stream=shared&key=color`);
  const rows = page.locator(".graph-row");
  await page.getByText("2 versions are in conflict").waitFor();
  await expect.poll(() => rows.count()).toBe(3);
  expect(await rows.locator(".graph-value").allTextContents()).toEqual(["green", "blue", "red"]);
  expect(await page.locator(".graph-ring").count()).toBe(2);
  expect(await page.locator(".graph-lines path").count()).toBe(2);
  // A person chooses one to look at.
  await rows.nth(1).click();
  await page.locator("pre.value-text", { hasText: "blue" }).waitFor();
  expect(await rows.nth(1).getAttribute("aria-pressed")).toBe("true");
  // The other site decides, which brings both together.
  await decide();
  await rows.nth(3).waitFor();
  await rows.first().getByText("brings 2 together").waitFor();
  await page.getByText("versions are in conflict").waitFor({ state: "detached" });
  await page.locator(".graph-ring").first().waitFor({ state: "detached" });
  expect(complaints).toEqual({ messages: [], foreign: [] });
});

pageTest("what sites share has no source, so the page does not say when it was heard of", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "1"]);
  await twoGraphs(daemon);
  const { page } = await openPage(daemon.url);
  const card = (name: string) => page.locator(".stream", { has: page.getByRole("heading", { name, exact: true }) });
  await card("shared").getByText("Shared by sites").waitFor();
  const said = await card("shared").locator("dt, figcaption").allTextContents();
  expect(said).toEqual(["Keys", "Versions", "Last commit"]);
  // A link leads to where it is told how the sites do.
  await card("shared").getByRole("link", { name: "Shared by sites" }).click();
  await page.getByRole("heading", { name: "Sites" }).waitFor();
});

pageTest("a daemon that wants a token is told one, which stays with the tab", async () => {
  const daemon = await Daemon.open();
  await daemon.put(["a", "1"]);
  daemon.does({ token: "read-me", adminToken: "rule-me" });
  const { page } = await openPage(daemon.url);
  const dialog = page.getByRole("dialog", { name: "Token" });
  await dialog.getByText("This daemon wants a token.").waitFor();
  // Closed without one, the page says what it is waiting for and does not guess on.
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await page.locator(".banner").getByText("The daemon wants a token:").waitFor();
  await page.getByRole("button", { name: "Enter a token" }).click();
  await dialog.getByLabel("Token", { exact: true }).fill("wrong");
  await page.keyboard.press("Enter");
  await dialog.getByText("This token is not known.").waitFor();
  await dialog.getByLabel("Token", { exact: true }).fill("read-me");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "a", exact: true }).waitFor();
  await page.locator(".link-state", { hasText: /^Live$/ }).waitFor();
  await page.reload();
  await page.getByRole("link", { name: "a", exact: true }).waitFor();
  expect(await page.evaluate(() => localStorage.length)).toBe(0);

  // What changes something wants another right; the page says so and takes another token.
  const show = (state: string) => {
    const now = migration({ state });
    daemon.does({ migrations: { databases: [{ name: "app.db", migrations: [now] }] } });
    return now;
  };
  show("running");
  // Paused by the press of the button alone: told earlier, the page could take the button away before it is pressed.
  daemon.does({ status: { migrationDatabases: 1 }, control: () => show("paused") });
  await go(page, "Migrations");
  await page.getByRole("button", { name: "Pause" }).click();
  await dialog.getByText("This token may only read.").waitFor();
  await dialog.getByLabel("Token", { exact: true }).fill("rule-me");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  await page.locator(".link-state", { hasText: "Live" }).waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator(".card").getByText("Paused").waitFor();
  // Forgotten, it is wanted again.
  await page.getByRole("button", { name: "Token", exact: true }).click();
  await dialog.getByRole("button", { name: "Forget the one in use" }).click();
  await dialog.getByText("This daemon wants a token.").waitFor();
});
