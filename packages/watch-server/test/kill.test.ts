import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { systemClock, systemRng } from "@tidemark/clock";
import { expect, test } from "vitest";
import { openStore } from "../src/index.ts";
import { changeAt, stateAt } from "./kill-script.ts";
import { storeFile, text, watchUntil } from "./support.ts";

const kills = process.env["TIDEMARK_LONG"] === "1" ? 200 : 10;

interface Told {
  acked: number;
  floor: number;
  /** It ended before it was killed. */
  hasFailed: boolean;
}

/** Writes in a process of its own until it is killed, at a random moment after it opened. */
async function writeAndKill(file: string): Promise<Told> {
  const script = fileURLToPath(new URL("kill-writer.ts", import.meta.url));
  const child = spawn(
    process.execPath,
    ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning", script, file],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const told: Told = { acked: 0, floor: 0, hasFailed: false };
  const opened = Promise.withResolvers<void>();
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => {
    const [word, number] = line.split(" ");
    if (word === "open") opened.resolve();
    else if (word === "ack") told.acked = Math.max(told.acked, Number(number));
    else if (word === "floor") told.floor = Math.max(told.floor, Number(number));
  });
  const exited = once(child, "exit");
  const closed = once(lines, "close");
  await Promise.race([opened.promise, exited]);
  await systemClock.sleep(systemRng.int(0, 250));
  told.hasFailed = child.exitCode !== null;
  child.kill("SIGKILL");
  await exited;
  await closed;
  return told;
}

test(`whatever is acknowledged survives ${kills} kills, in order, and nothing else appears`, {
  // Most of it is the start of processes, which takes as long as the machine is busy.
  timeout: kills * 60_000,
}, async () => {
  const file = storeFile();
  let revision = 0;
  let floor = 0;
  for (let kill = 1; kill <= kills; kill++) {
    const told = await writeAndKill(file);
    expect(told.hasFailed, `kill ${kill}`).toBe(false);
    const store = await openStore({ file });
    try {
      const now = Number(store.revision());
      const status = await store.status();
      expect(now, `kill ${kill}`).toBeGreaterThanOrEqual(Math.max(told.acked, revision));
      expect(Number(status.floor)).toBeGreaterThanOrEqual(Math.max(told.floor, floor));
      floor = Number(status.floor);
      revision = now;

      const { kvs } = await store.list({ limit: 100 });
      expect(kvs.map(({ key, value }) => [text(key), text(value)])).toEqual([...stateAt(now)]);
      const oldest = await store.list({ limit: 100, revision: status.floor });
      expect(oldest.kvs.map(({ key, value }) => [text(key), text(value)])).toEqual([...stateAt(floor)]);
    } finally {
      await store.close();
    }
  }
  const store = await openStore({ file });
  try {
    // The log that is left, over the lives of all those processes.
    const { log } = await watchUntil(
      store.watch({ resumeMarker: (await store.status()).oldestMarker }),
      BigInt(revision),
    );
    const expected = Array.from({ length: revision - floor }, (_, index) => {
      const at = floor + index + 1;
      const { key, value } = changeAt(at);
      return `${at} ${key}${value === undefined ? "" : `=${value}`}`;
    });
    expect(log).toEqual(expected);
  } finally {
    await store.close();
  }
});
