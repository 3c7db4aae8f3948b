import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { seededRng, systemClock } from "@tidemark/clock";
import { SourceProbe } from "@tidemark/store-watch/testing";
import { ReconnectLimiter } from "@tidemark/stream";
import { freePorts } from "@tidemark/tooling/ports";
import { testSeed } from "@tidemark/tooling/seed";
import { expect, onTestFinished, test } from "vitest";
import { watchSource } from "../src/index.ts";

const kills = process.env["TIDEMARK_LONG"] === "1" ? 50 : 4;

async function start(file: string, port: number): Promise<ChildProcess> {
  const script = fileURLToPath(new URL("serve-and-write.ts", import.meta.url));
  const flags = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...flags, script, file, `${port}`], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  // It says so when it listens.
  await once(createInterface({ input: child.stdout }), "line");
  return child;
}

test(`a store killed ${kills} times while it is written to is followed without loss or repetition`, {
  // Most of it is the start of processes, which takes as long as the machine is busy.
  timeout: kills * 60_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-kill-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "store.db");
  // Nobody else gets it while the store is dead.
  const [port] = (await freePorts(1)) as [number];
  let child = await start(file, port);
  const limiter = new ReconnectLimiter({ ratePerSecond: 1000, burst: 1000 });
  const source = watchSource({
    address: `http://127.0.0.1:${port}`,
    progressIntervalMs: 100,
    silenceTimeoutMs: 60_000,
    limiter,
    maxDelayMs: 100,
  });
  const probe = new SourceProbe(systemClock, 60_000).start(source);
  onTestFinished(() => probe.stop());
  await probe.until("the snapshot", () => probe.snapshots === 1);
  const rng = seededRng(testSeed);
  for (let kill = 0; kill < kills; kill++) {
    const seen = probe.groups.length;
    await probe.until("more", () => probe.groups.length > seen + 50);
    await systemClock.sleep(rng.int(0, 50));
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
    child = await start(file, port);
  }
  const seen = probe.groups.length;
  await probe.until("life after the last kill", () => probe.groups.length > seen);
  await probe.stop();
  const numbers = probe.groups.map(({ changes: [change] }) => Number(Buffer.from(change?.value ?? "").toString()));
  const first = numbers[0] as number;
  expect(numbers).toEqual(Array.from(numbers, (_, index) => first + index));
  expect(probe.gaps).toEqual([]);
  expect(probe.snapshots).toBe(1);
});
