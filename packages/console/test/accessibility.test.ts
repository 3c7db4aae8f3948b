import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { openPage, type Page } from "@tidemark/tooling/browser";
import { serviceTest } from "@tidemark/tooling/services";
import type axe from "axe-core";
import { expect } from "vitest";
import { Daemon } from "./support/daemon.ts";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Every rule of axe-core that a page breaks, with where. */
async function violations(page: Page): Promise<readonly string[]> {
  await page.evaluate(axeSource);
  const results = await page.evaluate(async () => {
    const { axe: tool } = globalThis as unknown as { readonly axe: typeof axe };
    return (await tool.run(document, { resultTypes: ["violations"] })).violations;
  });
  return results.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`,
  );
}

const views = {
  "an empty store": async () => {
    const daemon = await Daemon.open();
    return { daemon, act: (page: Page) => page.getByText("tidemark put greeting hello").waitFor() };
  },
  "the table with trouble": async () => {
    const daemon = await filled();
    daemon.setFacts({ state: "reconnecting", problem: "It does not answer.", lagP99Ms: 3, gaps: 1n, quarantined: 2n });
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
    const { daemon, act } = await open();
    const { page } = await openPage(daemon.url, { reducedMotion: "reduce" });
    await act(page);
    for (const colorScheme of ["light", "dark"] as const) {
      for (const [width, height] of [
        [1280, 800],
        [360, 740],
      ] as const) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height });
        const broken = await violations(page);
        // What sticks out at the side has to be scrolled for.
        const widest = await page.evaluate(() => document.documentElement.scrollWidth);
        expect({ colorScheme, width, broken, widest }).toEqual({ colorScheme, width, broken: [], widest: width });
      }
    }
  });
}
