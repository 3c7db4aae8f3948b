// What a user gets from npm, checked on the packed tarball: publint, arethetypeswrong, and the reviewed API report.
// Runs in a package's folder; `--update-api` writes etc/*.api.md anew and checks nothing else.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { root } from "./lib/toolchain.mjs";

const folder = process.cwd();
const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
const isUpdate = process.argv.includes("--update-api");
const isWindows = process.platform === "win32";

function tool(name, args) {
  const file = name === "pnpm" ? "pnpm" : join(root, "node_modules", ".bin", name);
  const done = spawnSync(file, args, { cwd: folder, encoding: "utf8", shell: isWindows });
  if (done.error) throw done.error;
  if (done.status !== 0) process.stdout.write(`${done.stdout}${done.stderr}`);
  return done.status === 0;
}

function checkTarball(scratch) {
  const tarball = join(scratch, "package.tgz");
  // pnpm alone knows `catalog:`, `workspace:` and publishConfig.exports.
  if (!tool("pnpm", ["pack", "--out", tarball])) return false;
  const isLinted = tool("publint", ["run", tarball, "--strict"]);
  const isTyped = tool("attw", [tarball, "--profile", "esm-only", "--no-emoji"]);
  return isLinted && isTyped;
}

/** What an API report is made of: every entry users may rely on, so not `./internal`. */
function entries() {
  const published = Object.entries(manifest.publishConfig?.exports ?? {});
  return published.flatMap(([name, target]) => (name !== "./internal" && target.types ? [[name, target.types]] : []));
}

/** How the API report of one entry is made. */
function configOf(ExtractorConfig, scratch, name, types, report) {
  return ExtractorConfig.prepare({
    configObjectFullPath: undefined,
    packageJsonFullPath: join(folder, "package.json"),
    configObject: {
      projectFolder: folder,
      mainEntryPointFilePath: join(folder, types),
      newlineKind: "lf",
      compiler: {
        overrideTsconfig: {
          compilerOptions: {
            target: "es2022",
            lib: ["esnext", "dom"],
            module: "nodenext",
            moduleResolution: "nodenext",
            types: ["node"],
            strict: true,
            skipLibCheck: true,
          },
        },
      },
      apiReport: {
        enabled: true,
        reportFileName: report,
        reportFolder: "<projectFolder>/etc",
        reportTempFolder: scratch,
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      messages: {
        compilerMessageReporting: { default: { logLevel: "error" } },
        extractorMessageReporting: {
          default: { logLevel: "none" },
          // A type that users meet but cannot name. Another entry does not see what the main one exports.
          "ae-forgotten-export": { logLevel: "none", addToApiReportFile: name === "." },
        },
        tsdocMessageReporting: { default: { logLevel: "none" } },
      },
    },
  });
}

function checkApi(scratch) {
  const { CompilerState, Extractor, ExtractorConfig } = createRequire(join(root, "package.json"))(
    "@microsoft/api-extractor",
  );
  mkdirSync(join(folder, "etc"), { recursive: true });
  const reports = entries().map(([name, types]) => {
    const report = `${basename(folder)}${name === "." ? "" : `-${basename(name)}`}`;
    return { name, report, config: configOf(ExtractorConfig, scratch, name, types, report) };
  });
  if (reports.length === 0) return true;
  // Compiled once for all entries: the declarations of Node and of the language are most of it.
  const [first, ...others] = reports.map(({ config }) => config);
  const compilerState = CompilerState.create(first, {
    additionalEntryPoints: others.map((config) => config.mainEntryPointFilePath),
  });
  let isUnchanged = true;
  for (const { name, report, config } of reports) {
    const result = Extractor.invoke(config, {
      compilerState,
      localBuild: isUpdate,
      messageCallback: (message) => {
        message.handled = message.logLevel !== "error";
      },
    });
    if (isUpdate) continue;
    const reviewed = join(folder, "etc", `${report}.api.md`);
    if (result.apiReportChanged || !existsSync(reviewed)) {
      const file = `etc/${report}.api.md`;
      process.stdout.write(
        `The public API of ${manifest.name} (${name}) differs from ${file}. If that is meant: npm run api\n`,
      );
      if (existsSync(reviewed)) {
        const change = ["diff", "--no-index", "--no-color", reviewed, join(scratch, `${report}.api.md`)];
        process.stdout.write(spawnSync("git", change, { encoding: "utf8" }).stdout);
      }
      isUnchanged = false;
    } else if (!result.succeeded) isUnchanged = false;
  }
  return isUnchanged;
}

const scratch = mkdtempSync(join(tmpdir(), "tidemark-check-"));
try {
  const results = isUpdate ? [checkApi(scratch)] : [checkTarball(scratch), checkApi(scratch)];
  process.exitCode = results.every(Boolean) ? 0 : 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
