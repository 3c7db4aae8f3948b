import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openMigrations } from "@tidemark/migrate";
import { openStore } from "@tidemark/watch-server";

const folder = await mkdtemp(join(tmpdir(), "tidemark-"));
const file = join(folder, "store.db");
{
  await using store = await openStore({ file });
  await store.put("config/port", "8080");

  // Reads and writes go on meanwhile.
  await using migrations = await openMigrations({
    database: { dialect: "sqlite", file },
    definitions: import.meta.resolve("@tidemark/watch-server/migrations"),
  });
  await migrations.run();
  await migrations.requireDone("store-2-sizes");
  await store.finishUpgrade();

  console.log(await store.size());
}
await rm(folder, { recursive: true });
