// The steps of the Containerfile, run in a folder: everything but the base image and its user.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../../", import.meta.url));

/** `RUN a \ && b` as `["RUN", "a && b"]`. */
function stepsOf(file: string): (readonly [instruction: string, rest: string])[] {
  return readFileSync(file, "utf8")
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll(/\s*\\\n\s*/g, " ")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]);
}

// It installs and builds everything: a minute and more of both processors.
test.runIf(process.env["TIDEMARK_LONG"] === "1")(
  "what the image is made of is built from a clean clone, starts, answers its probe and stops in order",
  { timeout: 1_800_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "tidemark-container-"));
    // A hundred thousand files: more than hooks are given.
    onTestFinished(() => rm(folder, { recursive: true, force: true }), 600_000);
    const work = join(folder, "work");
    await run("git", ["clone", "--quiet", root, work]);
    const steps = stepsOf(join(work, "apps/daemon/packaging/Containerfile"));
    const second = steps.findLastIndex(([instruction]) => instruction === "FROM");
    const here = (text: string) =>
      text.replaceAll(/(?<=^|[ "=])\/(app|var\/lib\/tidemark|tmp\/tidemark)\b/g, `${folder}/$1`);
    const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env["PATH"]}` };
    for (const [instruction, rest] of steps.slice(0, second)) {
      if (instruction !== "RUN") continue;
      await run("sh", ["-c", here(rest)], { cwd: work, env, maxBuffer: 1 << 26 });
    }
    mkdirSync(join(folder, "var/lib/tidemark"), { recursive: true });
    const valueOf = (wanted: string) => steps.slice(second).find(([instruction]) => instruction === wanted)?.[1] ?? "";
    expect(valueOf("ENTRYPOINT")).toBe('["tidemark"]');
    expect(valueOf("RUN")).toContain("ln -s /app/dist/main.js /usr/local/bin/tidemark");
    const settings = here(valueOf("ENV"))
      .split(" ")
      .map((each) => each.split("="));
    const args = JSON.parse(here(valueOf("CMD"))) as string[];
    const ports = ["--listen", "127.0.0.1:0", "--watch-listen", "127.0.0.1:0", "--topics-listen", "127.0.0.1:0"];
    const child = spawn(process.execPath, [join(folder, "app/dist/main.js"), ...args, "--json", ...ports], {
      cwd: folder,
      env: { ...env, ...(Object.fromEntries(settings) as Record<string, string>) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    const { http } = JSON.parse(line) as { readonly http: string };
    expect((await fetch(`${http}/healthz`)).status).toBe(200);
    expect(await (await fetch(http)).text()).toContain("<title>Tidemark</title>");
    const closed = once(child, "close");
    child.kill(valueOf("STOPSIGNAL") as "SIGTERM");
    expect(await closed).toEqual([0, null]);
  },
);
