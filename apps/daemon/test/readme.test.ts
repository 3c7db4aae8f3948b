import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { hasService } from "@tidemark/tooling/services";
import { startEtcd, type TestEtcd } from "@tidemark/source-etcd/testing";
import { expect, onTestFinished, test } from "vitest";
import { freePorts, shellWords, spawnCli, testFolder, tidemark, until } from "./support.ts";

const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");

/** A command of a ```console block and the output that the README shows for it. */
interface Step {
  readonly command: string;
  readonly shown: string;
}

function steps(): Step[] {
  return [...readme.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block = ""]) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        // A backslash at the end of a line continues the command.
        const [command = "", ...shown] = part.replaceAll("\\\n", " ").split("\n");
        return { command: command.replace(/\s+/g, " ").trim(), shown: shown.join("\n").trim() };
      }),
  );
}

/** What differs from run to run is replaced; what is left must be the same. */
function shape(text: string): string[] {
  return text
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "TIME")
    .replaceAll(/\d\d:\d\d:\d\d/g, "TIME")
    .replaceAll(/just now|(\d+[dhms] ?)+ ago/g, "AGO")
    .replaceAll(/(127\.0\.0\.1|localhost):\d+/g, "ADDRESS")
    .replaceAll(/Tidemark \d+\.\d+\.\d+/g, "Tidemark VERSION")
    .replaceAll(/(\d+(\.\d+)?m?s ?)+/g, "DURATION ")
    .replaceAll(/\d+\.\d changes\/s/g, "RATE")
    .replaceAll(/^( *data +).*$/gm, "$1FOLDER")
    .split("\n")
    .map((line) => line.replaceAll(/\s+/g, " ").trim())
    .filter((line) => line !== "");
}

/** Runs the README from top to bottom, as a person would. */
test("the README's first five minutes are what happens", { timeout: 120_000 }, async () => {
  const folder = testFolder();
  const all = steps();
  expect(all.length).toBeGreaterThan(8);
  let url = "";
  let etcd: TestEtcd | undefined;
  for (const { command, shown } of all) {
    const [program = "", ...args] = shellWords(command);
    if (program === "etcdctl" || args.includes("--etcd")) {
      if (!hasService("etcd")) break;
      etcd ??= await startEtcd();
      onTestFinished(async () => etcd?.[Symbol.asyncDispose]());
    }
    if ((program === "npm" && args[0] === "start") || args[0] === "up") {
      const [http, watch] = await freePorts(2);
      const given = args
        .slice(1)
        .map((arg) => (etcd === undefined ? arg : arg.replace("http://127.0.0.1:2379", etcd.endpoint)));
      const ports = [
        "--listen",
        `127.0.0.1:${http}`,
        ...(args[0] === "start" ? ["--watch-listen", `127.0.0.1:${watch}`] : []),
      ];
      const env = program === "npm" ? { TIDEMARK_COMMAND: "node scripts/run.mjs tidemark" } : {};
      const daemon = spawnCli(["up", ...given, ...ports], env, folder);
      let output = "";
      daemon.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
      await until(() => output.includes("another terminal") && output.endsWith("\n"));
      // Where it does not listen on the default the suggestions name the address.
      expect(shape(output.replaceAll(/ --connect \S+/g, "")), command).toEqual(
        shape(shown.replaceAll(/ --connect \S+/g, "")),
      );
      url = `http://127.0.0.1:${http}`;
    } else if (program === "etcdctl") {
      const { stdout } = await promisify(execFile)("etcdctl", args, {
        env: { ...process.env, ETCDCTL_API: "3", ETCDCTL_ENDPOINTS: etcd?.endpoint },
      });
      expect(shape(stdout), command).toEqual(shape(shown));
    } else if (program === "curl") {
      const response = await fetch(url + new URL(args.at(-1) ?? "").pathname);
      expect(shape(await response.text()), command).toEqual(shape(shown));
    } else {
      expect(program, `what to do with: ${command}`).toBe("tidemark");
      const connect = args.includes("--connect") ? args.map((arg) => (arg.startsWith("http://") ? url : arg)) : args;
      const { stdout, stderr } = await tidemark(connect, { env: { TIDEMARK_URL: url }, cwd: folder });
      expect(shape(stdout + stderr), command).toEqual(shape(shown));
    }
  }
});

test("the README's table lists every package", () => {
  const root = new URL("../../../", import.meta.url);
  for (const group of ["packages", "apps"]) {
    for (const name of readdirSync(new URL(group, root)))
      expect(readme, `${group}/${name}`).toContain(`(${group}/${name}`);
  }
});
