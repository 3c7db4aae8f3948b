import { create } from "@bufbuild/protobuf";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { openPage, type Page } from "@tidemark/tooling/browser";
import { serviceTest } from "@tidemark/tooling/services";
import type axe from "axe-core";
import { expect } from "vitest";
import { LastAuditSchema, SourceFactSchema } from "../src/gen/tidemark/admin/v1/admin_pb.ts";
import { Daemon } from "./support/daemon.ts";
import { migration, site, topicsAt } from "./support/operations.ts";
import { twoGraphs } from "./support/two-graphs.ts";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What depends on colours or on the room that there is; everything else is the same for every scheme and width. */
const visualRules = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"];

/** Every rule of axe-core that a page breaks, with where. */
async function violations(page: Page, rules?: readonly string[]): Promise<readonly string[]> {
  const results = await page.evaluate(
    async (runOnly) => {
      const { axe: tool } = globalThis as unknown as { readonly axe: typeof axe };
      return (await tool.run(document, { resultTypes: ["violations"], ...(runOnly && { runOnly }) })).violations;
    },
    rules === undefined ? undefined : [...rules],
  );
  return results.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`,
  );
}

interface View {
  readonly daemon: Daemon;
  /** Which part of the page is opened. */
  readonly part?: string;
  readonly act: (page: Page) => Promise<void>;
}

const views: Readonly<Record<string, () => Promise<View>>> = {
  "an empty store": async () => {
    const daemon = await Daemon.open();
    return { daemon, act: (page: Page) => page.getByText("tidemark put greeting hello").waitFor() };
  },
  "the table with trouble": async () => {
    const daemon = await filled();
    daemon.setFacts({ state: "reconnecting", problem: "It does not answer.", lagP99Ms: 3, gaps: 1n, quarantined: 2n });
    daemon.setFacts({
      sourceFacts: [
        create(SourceFactSchema, { name: "leaves", value: { case: "count", value: 577n } }),
        create(SourceFactSchema, { name: "unreadable", value: { case: "count", value: 1n }, notable: true }),
      ],
      lastAudit: create(LastAuditSchema, { verdict: "equal", atMs: BigInt(Date.now()) }),
    });
    return { daemon, act: (page: Page) => page.getByText("It does not answer.").waitFor() };
  },
  "a key's history": async () => ({
    daemon: await filled(),
    act: async (page: Page) => {
      await page.getByRole("link", { name: "config", exact: true }).click();
      await page.locator("pre.value-text").waitFor();
    },
  }),
  "a diff in the past": async () => ({
    daemon: await filled(),
    act: async (page: Page) => {
      await page.getByRole("link", { name: "config", exact: true }).click();
      await page.locator("label", { hasText: "Changes" }).click();
      await page.locator(".diff-line").first().waitFor();
      await page.getByRole("button", { name: "show the whole table as of version 2" }).click();
      await page.locator(".past-note:visible").first().waitFor();
    },
  }),
  "what is different now": async () => ({
    daemon: await filled(),
    act: async (page: Page) => {
      await page.getByRole("button", { name: "Hold the table at this moment" }).click();
      await page.goto(page.url().replace(/position=\d+/, "position=2"));
      await page.getByRole("button", { name: "What is different now" }).first().click();
      await page.getByText("are not what they were:").waitFor();
    },
  }),
  "the quarantine": async () => {
    const daemon = await filled();
    await daemon.tell({
      type: "poison",
      key: Buffer.from("k"),
      raw: Buffer.from("v"),
      error: "It is broken.",
      version: "c999",
    });
    return {
      daemon,
      act: async (page: Page) => {
        await page.getByRole("button", { name: "1 in quarantine in store: show" }).click();
        await page.getByText("It is broken.").waitFor();
      },
    };
  },
  "the plots of all sources": async () => {
    const daemon = await filled();
    daemon.setFacts({ lagP99Ms: 3, changesPerSecond: 7 });
    return { daemon, part: "streams", act: (page: Page) => page.getByText("7/s").first().waitFor() };
  },
  "topics and their partitions": async () => {
    const daemon = await filled();
    daemon.does({ status: { topicsUrl: "grpc://127.0.0.1:2136/local" }, topics: topicsAt(1_000, 900) });
    const part = "topics&topic=/local/orders";
    return { daemon, part, act: (page: Page) => page.getByText("nobody reads").first().waitFor() };
  },
  "migrations of all kinds": async () => {
    const daemon = await filled();
    const states = ["running", "throttled", "paused", "failed", "cancelled", "done", "stalled"];
    const migrations = states.map((state) =>
      migration({ name: `a-${state}-one`, state, errorMessage: "It is broken.", throttleReason: "replica-lag 12 s" }),
    );
    daemon.does({
      status: { migrationDatabases: 2 },
      migrations: {
        databases: [
          { name: "postgres://db/app", migrations },
          { name: "old.db", problem: "there is no such file" },
        ],
      },
    });
    return { daemon, part: "migrations", act: (page: Page) => page.getByText("there is no such file").waitFor() };
  },
  "sites with a conflict": async () => {
    const daemon = await filled();
    const heads = ["oslo-7c", "paris-1f"].map((origin, index) => ({
      position: BigInt(index),
      origin,
      generation: 3n,
      value: Buffer.from("a value that is rather long, so that it has to be broken somewhere on a telephone"),
    }));
    daemon.does({
      status: { sites: 1 },
      sites: { sites: [site({ conflicts: 1, problem: "The topic does not answer.", state: "retrying" })] },
      conflicts: { conflicts: [{ key: Buffer.from("/config/color"), heads }] },
    });
    return { daemon, part: "sites", act: (page: Page) => page.getByText("Take this").first().waitFor() };
  },
  "the graph of a key in conflict": async () => {
    const daemon = await filled();
    await twoGraphs(daemon);
    const part = "data&stream=shared&key=color";
    return { daemon, part, act: (page: Page) => page.getByText("2 versions are in conflict").waitFor() };
  },
  "a token that is wanted": async () => {
    const daemon = await filled();
    daemon.does({ token: "secret" });
    return { daemon, act: (page: Page) => page.getByRole("dialog").getByText("This daemon wants a token.").waitFor() };
  },
  "a lost connection": async () => {
    const daemon = await filled();
    return {
      daemon,
      act: async (page: Page) => {
        await page.getByRole("link", { name: "config", exact: true }).waitFor();
        await daemon.close();
        await page.getByText("No connection to the daemon:").waitFor();
      },
    };
  },
};

async function filled(): Promise<Daemon> {
  const daemon = await Daemon.open();
  await daemon.put(["config", '{"a":1,"b":[1,2,3]}'], ["bin", Uint8Array.of(0xff)], ["x\u200b", ""]);
  await daemon.put(["config", '{"a":2,"b":[1,2,3]}'], ["gone", "1"]);
  await daemon.put(["config", '{"a":2,"b":[1,3]}'], ["gone", null]);
  return daemon;
}

for (const [name, open] of Object.entries(views)) {
  serviceTest("chromium")(`${name} breaks no rule of accessibility, light and dark, wide and narrow`, async () => {
    const { daemon, part, act } = await open();
    const address = part === undefined ? daemon.url : `${daemon.url}#view=${part}`;
    const { page } = await openPage(address, { reducedMotion: "reduce" });
    await act(page);
    await page.evaluate(axeSource);
    // Colours do not depend on the width, nor the layout on colours: two of the four show everything.
    for (const [colorScheme, width, height, rules] of [
      ["light", 1280, 800, undefined],
      ["dark", 360, 740, visualRules],
    ] as const) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height });
      const broken = await violations(page, rules);
      // What sticks out at the side has to be scrolled for.
      const widest = await page.evaluate(() => document.documentElement.scrollWidth);
      expect({ colorScheme, width, broken, widest }).toEqual({ colorScheme, width, broken: [], widest: width });
    }
  });
}
