import { execFile, execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startEtcd, type TestEtcd } from "@tidemark/source-etcd/testing";
import { freePorts } from "@tidemark/tooling/ports";
import { hasService } from "@tidemark/tooling/services";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { shellWords, spawnCli, testFolder, tidemark, until } from "./support.ts";

const readmeFile = new URL("../../../README.md", import.meta.url);
const readme = readFileSync(readmeFile, "utf8");
/** Writes what really came into the README instead of comparing. */
const isUpdate = process.env["TIDEMARK_UPDATE_README"] === "1";

/** A command of a ```console block and the output that the README shows for it. */
interface Step {
  readonly command: string;
  readonly shown: string;
}

function stepsOf(text: string): readonly (readonly Step[])[] {
  return [...text.matchAll(/^```console\n(.*?)^```$/gms)].map(([, block = ""]) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        const [command = "", ...shown] = part.split("\n");
        return { command, shown: shown.join("\n").trimEnd() };
      }),
  );
}

/** What differs from run to run is replaced; what is left must be the same. */
function shape(text: string): readonly string[] {
  return text
    .replaceAll(/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+Z)?/g, "TIME")
    .replaceAll(/\d\d:\d\d:\d\d/g, "TIME")
    .replaceAll(/just now|(\d+[dhms] ?)+ ago/g, "AGO")
    .replaceAll(/Tidemark \d+\.\d+\.\d+/g, "Tidemark VERSION")
    .replaceAll(/\b(\d+(\.\d+)?(ms|s|m|h) ?)+/g, "DURATION")
    .replaceAll(/\d+\.\d changes\/s/g, "RATE")
    .replaceAll(/(lag p50 \S+ p99 \S+)/g, "LAG")
    .replaceAll(/^( *cursor +).*$/gm, "$1CURSOR")
    .split("\n")
    .map((line) => line.replaceAll(/\s+/g, " ").trim())
    .filter((line) => line !== "");
}

/** Runs commands as a person would, and returns what they print with the README's own addresses in it. */
class Reader {
  readonly #folder = testFolder();
  #url = "";
  #etcd: TestEtcd | undefined;
  readonly #names = new Map<string, string>([[`${this.#folder}/`, "./"]]);

  async run(command: string): Promise<string> {
    const [program = "", ...args] = shellWords(command);
    const text = await this.#output(program, args);
    return [...this.#names].reduce((shown, [ours, theirs]) => shown.replaceAll(ours, theirs), text);
  }

  async #output(program: string, args: readonly string[]): Promise<string> {
    if (program === "npm" || args[0] === "up") return this.#up(program, args);
    switch (program) {
      case "etcdctl": {
        const env = { ...process.env, ETCDCTL_API: "3", ETCDCTL_ENDPOINTS: (await this.#startEtcd()).endpoint };
        return (await promisify(execFile)("etcdctl", args, { env })).stdout;
      }
      case "sqlite3": {
        const [file = "", sql = ""] = args;
        using database = closing(new Database(join(this.#folder, file), { readonly: true }));
        const rows = database.prepare(sql).raw().all() as readonly (readonly unknown[])[];
        return rows.map((row) => `${row.map(String).join("|")}\n`).join("");
      }
      case "tidemark": {
        const { stdout, stderr } = await tidemark(this.#local(args), {
          env: { TIDEMARK_URL: this.#url },
          cwd: this.#folder,
        });
        return stderr + stdout;
      }
      default:
        throw new Error(`The README runs ${program}, and this test does not know how.`);
    }
  }

  async #up(program: string, args: readonly string[]): Promise<string> {
    if (args.includes("--etcd")) await this.#startEtcd();
    const [http, watch, topics] = await freePorts(3);
    const listen = args[args.indexOf("--listen") + 1];
    this.#names.set(`127.0.0.1:${http}`, args.includes("--listen") && listen !== undefined ? listen : "127.0.0.1:4650");
    this.#names.set(`127.0.0.1:${watch}`, "127.0.0.1:4651");
    this.#names.set(`127.0.0.1:${topics}`, "127.0.0.1:2136");
    const ports = ["--listen", http, "--watch-listen", watch, "--topics-listen", topics].map(String);
    const env = program === "npm" ? { TIDEMARK_COMMAND: "node scripts/run.mjs tidemark" } : {};
    const daemon = spawnCli(["up", ...this.#local(args.slice(1)), ...ports], env, this.#folder);
    let output = "";
    daemon.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    await until(() => /another terminal:\n( +.*\n)+$/.test(output));
    this.#url = `http://127.0.0.1:${http}`;
    // On its usual address nothing has to be said about it.
    return program === "npm" ? output.replaceAll(/ --connect \S+/g, "") : output;
  }

  /** Arguments with the addresses of this run. */
  #local(args: readonly string[]): readonly string[] {
    return args.map((arg, index) => {
      if (args[index - 1] === "--etcd" && this.#etcd !== undefined) return this.#etcd.endpoint;
      return args[index - 1] === "--connect" ? this.#url : arg;
    });
  }

  async #startEtcd(): Promise<TestEtcd> {
    if (this.#etcd === undefined) {
      const etcd = await startEtcd();
      onTestFinished(() => etcd[Symbol.asyncDispose]());
      this.#names.set(etcd.endpoint, "http://127.0.0.1:2379");
      this.#etcd = etcd;
    }
    return this.#etcd;
  }
}

function closing(database: Database.Database): Database.Database & Disposable {
  return Object.assign(database, { [Symbol.dispose]: () => void database.close() });
}

test("the README's first five minutes are what happens", { timeout: 120_000 }, async () => {
  const blocks = stepsOf(readme);
  expect(blocks.flat().length).toBeGreaterThan(15);
  const reader = new Reader();
  const real: string[] = [];
  for (const block of blocks) {
    if (!hasService("etcd") && block.some(({ command }) => /etcd/.test(command))) break;
    let text = "";
    for (const { command, shown } of block) {
      const output = (await reader.run(command)).trimEnd();
      text += `$ ${command}\n${output}${output === "" ? "" : "\n"}`;
      if (!isUpdate) expect(shape(output), command).toEqual(shape(shown));
    }
    real.push(text);
  }
  if (isUpdate) {
    const next = real.values();
    const updated = readme.replaceAll(/^```console\n.*?^```$/gms, (block) => {
      const { value } = next.next();
      return value === undefined ? block : `\`\`\`console\n${value}\`\`\``;
    });
    writeFileSync(readmeFile, updated);
  }
});

test("the README's table lists every package", () => {
  const root = fileURLToPath(new URL("../../../", import.meta.url));
  // What is not committed yet need not be announced.
  const known = execFileSync("git", ["ls-files", "packages/*/package.json", "apps/*/package.json"], {
    cwd: root,
    encoding: "utf8",
  });
  const folders = known
    .trim()
    .split("\n")
    .map((file) => file.replace("/package.json", ""));
  expect(folders).toContain("apps/daemon");
  for (const folder of folders) expect(readme, folder).toContain(`(${folder}/README.md)`);
});
