import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { seededRng, systemRng } from "@tidemark/clock";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { check } from "./direct.ts";
import { killScript } from "./fixtures/kill-script.ts";
import { temporaryFile } from "./helpers.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const kills = isLong ? 200 : 10;

interface Row {
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string;
}

/** Every version that the source made up to a revision, in log order. */
function versionsUpTo(revision: number): string[] {
  const live = new Set<string>();
  const versions: string[] = [];
  for (let at = 1; at <= revision; at++) {
    for (const [key, value] of killScript.changesOf(at)) {
      if (value === undefined && !live.has(key)) continue;
      if (value === undefined) live.delete(key);
      else live.add(key);
      versions.push(`${key} ${at} ${value ?? "deleted"}`);
    }
  }
  return versions;
}

function versionsIn(file: string): { readonly cursor: number; readonly versions: string[] } {
  const db = new Database(file, { readonly: true });
  try {
    const cursor = db.prepare("SELECT cursor FROM streams").pluck().get() as string | null;
    const rows = db.prepare("SELECT key, value, version FROM history ORDER BY position").all() as Row[];
    const versions = rows.map(({ key, value, version }) => {
      return `${key.toString()} ${killScript.revisionOf(version)} ${value?.toString() ?? "deleted"}`;
    });
    return { cursor: killScript.revisionOf(cursor ?? undefined), versions };
  } finally {
    db.close();
  }
}

/** Appends until it is killed, that many acknowledgements and milliseconds later; resolves with the last acknowledged revision. */
async function appendUntilKilled(
  file: string,
  seed: number,
  acknowledgements: number,
  delayMs: number,
): Promise<number> {
  const path = new URL("./fixtures/append-forever.ts", import.meta.url).pathname;
  const child: ChildProcess = spawn(process.execPath, [...process.execArgv, path, file, String(seed)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const exited = once(child, "exit");
  let last = 0;
  let seen = 0;
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    last = Number(line);
    if (++seen === acknowledgements) setTimeout(() => child.kill("SIGKILL"), delayMs);
  }
  const [, signal] = (await exited) as [number | null, string | null];
  expect(signal).toBe("SIGKILL");
  return last;
}

test(`killed at ${kills} random moments, it has what was acknowledged, at most what was in flight besides, and is sound`, {
  timeout: 3_600_000,
}, async () => {
  const seed = systemRng.uint32();
  const rng = seededRng(seed);
  const file = temporaryFile();
  for (let round = 0; round < kills; round++) {
    const acknowledged = await appendUntilKilled(file, seed, rng.int(1, 40), rng.float() * 30);
    const { cursor, versions } = versionsIn(file);
    const context = { seed, round };
    // One append brings at most 60 revisions, and what the one before left open.
    expect({ ...context, isKept: cursor >= acknowledged, isInFlight: cursor <= acknowledged + 120 }).toEqual({
      ...context,
      isKept: true,
      isInFlight: true,
    });
    expect({ ...context, versions }).toEqual({ ...context, versions: versionsUpTo(cursor) });
    expect({ ...context, ...check(file) }).toMatchObject({ ...context, findings: [] });
  }
});
