import type { Clock } from "@tidemark/clock";
import type { Settings } from "../../config/settings.ts";
import { DaemonError } from "../../daemon-error.ts";
import { redact } from "../../redact.ts";
import { checkCertificate } from "./check-certificate.ts";
import { checkDatabase, checkMigrations, checkPeer, checkTopics } from "./check-connections.ts";
import { checkDataDir, checkDisk, isFolderTaken } from "./check-data-dir.ts";
import { checkPort } from "./check-port.ts";
import { checkSource } from "./check-source.ts";

/** How one thing is that the daemon needs. */
export interface Finding {
  readonly what: string;
  /** `failed`: the daemon will not start, or will not do this part. */
  readonly state: "ok" | "warning" | "failed";
  readonly detail: string;
  /** What to do about it. */
  readonly fix: string | undefined;
}

/** Tries one thing: returns what it found, or throws what is wrong. */
export type Check = () => Promise<string | { readonly warning: string; readonly fix: string }>;

export interface CheckOptions {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** How long each connection may take, in milliseconds. */
  readonly timeoutMs: number;
}

/** Tries everything that the configuration names; changes nothing. Findings come in the order of the configuration. */
export async function checkAll(settings: Settings, options: CheckOptions): Promise<readonly Finding[]> {
  const { dataDir, database, topics, tls } = settings;
  const isRunning = isFolderTaken(dataDir);
  const port =
    (flag: string, address: Settings["listen"]): Check =>
    () =>
      checkPort(address, flag, isRunning);
  const checks: (readonly [what: string, check: Check])[] = [
    ["data folder", () => checkDataDir(dataDir, isRunning)],
    ["disk", () => checkDisk(dataDir)],
    ["listen", port("--listen", settings.listen)],
    ...(settings.hasStore ? [["watchListen", port("--watch-listen", settings.watchListen)] as const] : []),
    ...(topics === undefined ? [] : [["topicsListen", port("--topics-listen", topics.listen)] as const]),
    ...(tls === undefined ? [] : [["tls", () => checkCertificate(tls, options.clock.now())] as const]),
    ...(topics?.tls === undefined
      ? []
      : [["topicsTls", () => checkCertificate(topics.tls ?? {}, options.clock.now())] as const]),
    ...(database === undefined ? [] : [["history", () => checkDatabase(database, options)] as const]),
    ...settings.sources.map((source) => [`source ${source.name}`, () => checkSource(source, options)] as const),
    ...settings.mirrors.flatMap(({ name, to, database: other }) => [
      [`mirror ${name}`, () => checkSource({ ...to, name: `${name}-target` }, options)] as const,
      ...(other === undefined ? [] : [[`history of ${name}`, () => checkDatabase(other, options)] as const]),
    ]),
    ...settings.sites.flatMap((site) => [
      [`site ${site.name}`, () => checkTopics(site, options)] as const,
      ...site.peers.map((url) => [`peer of ${site.name}`, () => checkPeer(url, site, options)] as const),
    ]),
    ...settings.migrations.map((each, index) => [`migrations ${index}`, () => checkMigrations(each, options)] as const),
  ];
  return Promise.all(checks.map(([what, check]) => run(what, check)));
}

async function run(what: string, check: Check): Promise<Finding> {
  try {
    const found = await check();
    if (typeof found === "string") return { what, state: "ok", detail: redact(found), fix: undefined };
    return { what, state: "warning", detail: redact(found.warning), fix: redact(found.fix) };
  } catch (error) {
    const [problem, fix] = DaemonError.is(error)
      ? [error.problem, error.fix]
      : [error instanceof Error ? error.message : String(error), undefined];
    return { what, state: "failed", detail: redact(problem), fix: fix === undefined ? undefined : redact(fix) };
  }
}
