// A store of an earlier release under today's daemon: it serves at once, and says how far it is with what has to be done.
import { join } from "node:path";
import { openPage } from "@tidemark/tooling/browser";
import { serviceTest } from "@tidemark/tooling/services";
import { openMigrations } from "@tidemark/migrate";
import { countSizes } from "@tidemark/watch-server/migrations";
import Sqlite from "better-sqlite3";
import { expect, test } from "vitest";
import { startDaemon, type TestDaemon, testFolder, until } from "./support.ts";

const { earlierRelease } = (await import(
  new URL("../../../packages/watch-server/test/earlier-release.ts", import.meta.url).href
)) as { readonly earlierRelease: (count: number, file: string) => string };

const keys = 5_000;
/** Every tenth is deleted. */
const live = keys - keys / 10;

const storedBytes = async (daemon: TestDaemon) =>
  (await daemon.json(["status"]))[0].streams[0].storedBytes as string | null;

/** Bytes of all keys and values, looked for in the file. */
function counted(folder: string): string {
  const db = new Sqlite(join(folder, "store.db"), { readonly: true });
  try {
    const sum = "SELECT sum(length(k.key) + length(c.value)) FROM keys k JOIN changes c ON c.id = k.head";
    return String(db.prepare(sum).pluck().get());
  } finally {
    db.close();
  }
}

function earlierFolder(): string {
  const folder = testFolder();
  earlierRelease(keys, join(folder, "store.db"));
  return folder;
}

test("a store of an earlier release is read and written while it is counted, and goes on over a SIGKILL", async () => {
  const folder = earlierFolder();
  const first = await startDaemon(["--data", folder]);
  expect((await first.cli(["get", "k3", "--stream", "store"])).stdout).toBe("value 3\n");
  expect(await first.cli(["put", "k3", "written meanwhile"])).toMatchObject({ exitCode: 0 });
  await first.stop("SIGKILL");

  const daemon = await startDaemon(["--data", folder]);
  expect(await daemon.cli(["del", "k4"])).toMatchObject({ exitCode: 0 });
  await until(async () => (await storedBytes(daemon)) !== null);
  expect(await storedBytes(daemon)).toBe(counted(folder));
  expect((await daemon.json(["status"]))[0].streams[0].keys).toBe(String(live - 1));
  await daemon.cli(["put", "k4", "again"]);
  expect(await storedBytes(daemon)).toBe(counted(folder));
  expect((await daemon.json(["fsck"]))[0]).toMatchObject({ clean: true });
  expect(await daemon.stop("SIGTERM")).toBe(0);
  // From then on nothing is left to do, and nothing shows.
  const again = await startDaemon(["--data", folder]);
  const health = (await (await fetch(`${again.http}/healthz`)).json()) as object;
  expect(health).not.toHaveProperty("async_migrations");
  expect(await storedBytes(again)).toBe(counted(folder));
});

serviceTest("chromium")(
  "the page shows keys at once, the banner as long as they are counted, and then their size",
  async () => {
    const folder = earlierFolder();
    // Paused before the daemon comes, so that there is all the time to look.
    const database = { dialect: "sqlite", file: join(folder, "store.db") } as const;
    {
      await using migrations = await openMigrations({ database, definitions: [countSizes], thread: "caller" });
      await migrations.pause(countSizes.name);
    }
    const daemon = await startDaemon(["--data", folder]);
    const { page, complaints } = await openPage(daemon.http);
    await page.getByRole("link", { name: "k1001", exact: true }).waitFor();
    const banner = page.locator("tidemark-warmup-banner li", { hasText: "Migration store-2-sizes is paused at" });
    // It asks at intervals, and asks again where it was not answered in time.
    await banner.waitFor({ timeout: 60_000 });
    expect(await storedBytes(daemon)).toBeNull();
    expect(await page.locator(".stream dt", { hasText: "Size" }).count()).toBe(0);
    await page.getByRole("link", { name: "Migrations" }).click();
    const card = page.locator(".card", { hasText: "store-2-sizes" });
    await card.getByRole("button", { name: "Go on" }).click();
    await card.getByText("Done").waitFor();
    await banner.waitFor({ state: "detached", timeout: 60_000 });
    await page.getByRole("link", { name: "Data" }).click();
    await page.locator(".stream dt", { hasText: "Size" }).waitFor();
    expect(await storedBytes(daemon)).toBe(counted(folder));
    expect(complaints.foreign).toEqual([]);
  },
);
