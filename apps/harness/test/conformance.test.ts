import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Frame, History } from "@tidemark/store-watch";
import { FrameBuffer } from "@tidemark/store-watch";
import type { Sink } from "@tidemark/sync";
import { openTopicServer } from "@tidemark/topic-server";
import { expect, onTestFinished, test } from "vitest";
import { history, sink } from "../examples/adapters.ts";
import { runChecks } from "../src/conformance/checks.ts";
import { conformAdapter, conformTopics } from "../src/conformance/conformance-command.ts";
import { historyConformance } from "../src/conformance/history-conformance.ts";
import { sinkConformance } from "../src/conformance/sink-conformance.ts";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

test("our own topic service conforms", { timeout: 300_000 }, async () => {
  await using server = await openTopicServer();
  const lines: string[] = [];
  const code = await conformTopics({
    endpoint: server.connectionString,
    timeoutMs: 60_000,
    say: (line) => lines.push(line),
  });
  expect(lines.filter((line) => !line.startsWith("ok"))).toEqual(["7 of 7 hold"]);
  expect(code).toBe(0);
});

test("a service that nobody can reach conforms to nothing", { timeout: 300_000 }, async () => {
  const lines: string[] = [];
  const endpoint = "grpc://127.0.0.1:1/local";
  expect(await conformTopics({ endpoint, timeoutMs: 200, say: (line) => lines.push(line) })).toBe(1);
  expect(lines.at(-1)).toBe("0 of 7 hold");
});

/** A repository of somebody else: adapters, and our packages as they are installed. */
function foreignRepository(): string {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-adapters-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(at("../examples/adapters.ts"), join(folder, "adapters.ts"));
  mkdirSync(join(folder, "node_modules/@tidemark"), { recursive: true });
  for (const name of ["store-watch", "sync"]) {
    symlinkSync(at(`../node_modules/@tidemark/${name}`), join(folder, "node_modules/@tidemark", name));
  }
  return folder;
}

async function harness(cwd: string, ...args: readonly string[]) {
  const flags = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...flags, at("../src/main.ts"), ...args], { cwd, stdio: "pipe" });
  let [output, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const code = await new Promise((resolve) => child.once("close", resolve));
  return { code, output, errors };
}

test.each([
  ["source", /^1\d of 1\d hold, \d skipped$/m],
  ["history", /^18 of 18 hold$/m],
])("an author checks a %s from a repository of their own", { timeout: 300_000 }, async (kind, verdict) => {
  const { code, output, errors } = await harness(foreignRepository(), "conformance", kind, "./adapters.ts");
  expect(output + errors).toMatch(verdict);
  expect(code).toBe(0);
});

test("a sink is checked, and a module without one is told what it lacks", async () => {
  const lines: string[] = [];
  const say = (line: string) => void lines.push(line);
  expect(await conformAdapter("sink", at("../examples/adapters.ts"), { say })).toBe(0);
  expect(lines.at(-1)).toBe("12 of 12 hold");
  await expect(conformAdapter("sink", at("../src/keys.ts"), { say })).rejects.toThrow(
    /must export what conformance is about as "sink"/,
  );
});

/** The checks that a defect fails. */
async function failedBy(checks: Parameters<typeof runChecks>[0]): Promise<readonly string[]> {
  const lines: string[] = [];
  await runChecks(checks, { say: (line) => lines.push(line) });
  const hasFailed = (name: string) => lines.some((line) => line.startsWith(`FAILED  ${name}:`));
  return checks.map(({ name }) => name).filter(hasFailed);
}

test.each<[string, RegExp, (sink: Sink) => Sink]>([
  [
    "does not compare",
    /overwrites nothing that somebody else changed/,
    ({ apply }) => ({
      async apply(writes, signal) {
        const found = await Promise.all(
          writes.map(async (write) => ({
            ...write,
            expected: (await sink.driver.read(write.key))?.version,
          })),
        );
        return apply(found, signal);
      },
    }),
  ],
  [
    "writes one after the other",
    /makes no write of a transaction/,
    ({ apply }) => ({
      async apply(writes, signal) {
        const results = [];
        for (const write of writes) results.push(await apply([write], signal));
        const versions = results.flatMap((result) => (result.isApplied ? result.versions : []));
        return versions.length === writes.length ? { isApplied: true, versions } : { isApplied: false };
      },
    }),
  ],
  [
    "says another version than the store",
    /says the version that the watch reports/,
    ({ apply }) => ({
      async apply(writes, signal) {
        const result = await apply(writes, signal);
        return result.isApplied ? { ...result, versions: result.versions.map((version) => `${version}0`) } : result;
      },
    }),
  ],
  [
    "keeps what is to be deleted",
    /deletes what has the version/,
    ({ apply }) => ({
      apply: (writes, signal) =>
        apply(
          writes.map((write) => ({ ...write, value: write.value ?? new Uint8Array() })),
          signal,
        ),
    }),
  ],
])("a sink that %s is found out", async (_, name, broken) => {
  const failed = await failedBy(sinkConformance({ ...sink, open: () => broken(sink.open()) }));
  expect(failed.join("\n")).toMatch(name);
});

/** A history whose streams get other frames than were written, or that answers something else. */
function brokenHistory(whole: History, frames: (frame: Frame) => readonly Frame[]): History {
  return new Proxy(whole, {
    get(target, name) {
      if (name === "openStream") {
        return async (...args: Parameters<History["openStream"]>) => {
          const stream = await target.openStream(...args);
          return {
            name: stream.name,
            get resume() {
              return stream.resume;
            },
            async append(buffer: FrameBuffer) {
              const other = new FrameBuffer();
              for (const frame of buffer.decode().flatMap(frames)) other.write(frame);
              return stream.append(other);
            },
          };
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

test("a history that forgets deletions, gaps, breaks and what it cannot take is found out", {
  timeout: 300_000,
}, async () => {
  const isKept = (frame: Frame) =>
    !["gap", "discard", "poison"].includes(frame.type) && !(frame.type === "change" && frame.value === undefined);
  const open = async () => brokenHistory(await history.open(), (frame) => (isKept(frame) ? [frame] : []));
  const failed = await failedBy(historyConformance({ open }));
  expect(failed).toEqual([
    "V7: forgets a group that was broken off",
    "V2: links every version to the one before it, one level above it",
    "V8: keeps a deletion as a version",
    "records what was lost, where and why",
    "sets a change aside that cannot be taken, and goes on",
    "shows what was at a position and at a cursor",
  ]);
});
