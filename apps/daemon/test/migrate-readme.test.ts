import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import { expect, test } from "vitest";
import { definitions, shellWords, testFolder, tidemark } from "./support.ts";

const readme = readFileSync(new URL("../../../packages/migrate/README.md", import.meta.url), "utf8");

/** What differs from run to run is replaced; what is left must be the same. */
const shape = (text: string) =>
  text
    .replaceAll(/\b\d+(\.\d+)?(ms|s)\b/g, "DURATION")
    .replaceAll(/\b\d+%/g, "PERCENT")
    .split("\n")
    .map((line) => line.replaceAll(/\s+/g, " ").trim())
    .filter((line) => line !== "");

test("the README of migrations leads from a definition to a verified backfill", { timeout: 120_000 }, async () => {
  const folder = testFolder();
  const db = new Sqlite(join(folder, "app.db"));
  db.exec(`pragma journal_mode = wal;
    create table devices (id integer primary key, address text not null, normalised text, last_seen integer);
    create table sightings (device_id integer not null, at integer not null);
    create index sightings_device on sightings (device_id, at);
    with recursive ids(id) as (select 1 union all select id + 1 from ids where id < 2000)
    insert into devices (id, address) select id, '00-1B-44-11-3A-' || id from ids;
    insert into sightings select id, id * 10 from devices`);
  db.close();
  symlinkSync(definitions("readme"), join(folder, "migrations"));

  const [block = ""] = [...readme.matchAll(/^```console\n(.*?)^```$/gms)].map(([, text]) => text);
  const steps = block.split(/^\$ /m).slice(1);
  expect(steps.length).toBeGreaterThan(3);
  for (const step of steps) {
    const [command = "", ...shown] = step.split("\n");
    const [program, ...args] = shellWords(command);
    expect(program).toBe("tidemark");
    const { exitCode, stdout, stderr } = await tidemark(args, { cwd: folder });
    expect(exitCode, `${command}: ${stderr}`).toBe(0);
    // How far a run is when one looks differs; what is shown comes, in this order.
    const real = shape(stdout + stderr);
    const expected = shape(shown.join("\n"));
    const found = real.filter((line) => expected.includes(line));
    expect(found, `${command}: ${real.join("\n")}`).toEqual(expected);
    if (!args.includes("run")) expect(real).toEqual(expected);
  }
});
