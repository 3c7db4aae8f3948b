import { relative } from "node:path";
import { systemClock } from "@tidemark/clock";
import { loadConfig } from "../../config/load-config.ts";
import { resolveSettings, type UpFlags } from "../../config/settings.ts";
import type { Finding } from "../../daemon/checks/check.ts";
import { DaemonError } from "../../daemon-error.ts";
import { redact } from "../../redact.ts";
import { formatTable } from "../format/table.ts";
import { toJsonLine } from "../json.ts";
import { createTerminal, type Terminal } from "../terminal.ts";

interface Flags extends UpFlags {
  readonly config?: string;
  readonly json?: boolean;
  readonly timeout?: string;
}

/** `tidemark check`: 0 when nothing failed, 1 when something did, 2 when the configuration itself is wrong. */
export async function check(flags: Flags): Promise<number> {
  const terminal = createTerminal();
  const seconds = Number(flags.timeout ?? "10");
  if (!(seconds > 0 && seconds <= 600)) {
    throw new DaemonError("USAGE", `--timeout must be a number of seconds in (0, 600], got ${flags.timeout}.`);
  }
  let findings: readonly Finding[];
  let exitCode = 2;
  try {
    const { config, file } = await loadConfig(flags.config);
    const settings = resolveSettings(config, flags);
    const detail = file === undefined ? "none: the defaults hold" : relative(process.cwd(), file);
    const { checkAll } = await import("../../daemon/checks/check.ts");
    const options = { signal: terminal.signal, clock: systemClock, timeoutMs: seconds * 1000 };
    const found = await checkAll(settings, options);
    findings = [{ what: "configuration", state: "ok", detail, fix: undefined }, ...found];
    exitCode = found.some(({ state }) => state === "failed") ? 1 : 0;
  } catch (error) {
    if (!DaemonError.is(error)) throw error;
    findings = [
      { what: "configuration", state: "failed", detail: redact(error.problem), fix: error.fix && redact(error.fix) },
    ];
  }
  terminal.signal.throwIfAborted();
  if (flags.json === true) {
    for (const { fix, ...finding } of findings) await terminal.write(toJsonLine({ ...finding, fix: fix ?? null }));
  } else await terminal.write(describe(findings, terminal));
  return exitCode;
}

const marks = { ok: ["green", "ok"], warning: ["yellow", "warning"], failed: ["red", "FAILED"] } as const;

function describe(findings: readonly Finding[], { style }: Terminal): string {
  const rows = findings.map(({ what, state, detail }) => {
    const [colour, word] = marks[state];
    return [what, style(colour, word), detail.replaceAll("\n", " ")];
  });
  const table = formatTable([{ title: "WHAT" }, { title: "STATE" }, { title: "DETAIL" }], rows, (text) =>
    style("dim", text),
  );
  const todo = findings.filter(({ fix }) => fix !== undefined);
  const lines = todo.map(({ what, fix }) => `${style("bold", what)}\n${(fix ?? "").replace(/^/gm, "  ")}\n`);
  return `${table}${lines.length === 0 ? "" : `\nWhat to do:\n${lines.join("")}`}`;
}
