import { isDeepStrictEqual } from "node:util";
import type { SourceSettings, Settings } from "../config/settings.ts";
import type { TopicsSettings } from "../config/topics-settings.ts";
import { DaemonError } from "../daemon-error.ts";

/** What a reload is about to do. */
export interface ReloadPlan {
  /** A sentence each. Empty: the configuration says what it said before. */
  readonly changes: readonly string[];
  /** Followed no more, or followed otherwise from now on. */
  readonly ended: readonly string[];
  /** New, or followed otherwise from now on. */
  readonly begun: readonly SourceSettings[];
}

/** What changes while the daemon runs; all other settings need a restart. */
const live: ReadonlySet<string> = new Set<keyof Settings>([
  "access",
  "audit",
  "hosts",
  "logLevel",
  "requestsPerSecond",
  "retention",
  "sources",
  "stopTimeoutMs",
  "tls",
  "topics",
]);
const liveTopics: ReadonlySet<string> = new Set<keyof TopicsSettings>(["auth", "maxCallsPerSecond", "tls"]);

/** The settings of a file by the names that the daemon has for them, where those differ. */
const names: Readonly<Record<string, string>> = {
  hasStore: "store",
  database: "history.database",
  synchronous: "history.synchronous",
  maxConnections: "limits.connections",
  maxRequestBytes: "limits.requestBytes",
  "topics.listen": "topicsListen",
  "topics.publicHost": "topicsPublicHost",
  "topics.syncIntervalMs": "topicsSync",
  "topics.maxConnections": "limits.connections",
};

/** @throws {DaemonError} `REFUSED` with every setting that needs a restart. */
export function planReload(before: Settings, after: Settings): ReloadPlan {
  const refused = [
    ...differing(before, after).filter((name) => !live.has(name)),
    ...(before.topics === undefined || after.topics === undefined
      ? before.topics === after.topics
        ? []
        : ["topics"]
      : differing(before.topics, after.topics)
          .filter((name) => !liveTopics.has(name))
          .map((name) => `topics.${name}`)),
    // What is asked for in a handshake is settled when the listener is opened.
    ...(tlsKind(before.tls) === tlsKind(after.tls) ? [] : ["tls"]),
    ...(tlsKind(before.topics?.tls) === tlsKind(after.topics?.tls) ? [] : ["topicsTls"]),
  ].map((name) => names[name] ?? name);
  const ended = before.sources.filter((source) => !after.sources.some((other) => isDeepStrictEqual(source, other)));
  const begun = after.sources.filter((source) => !before.sources.some((other) => isDeepStrictEqual(source, other)));
  if (ended.length > 0 && before.sites.length + before.mirrors.length > 0)
    refused.push("sources, which sites and mirrors use");
  if (refused.length > 0) {
    const list = [...new Set(refused)].map((name) => `\`${name}\``).join(", ");
    throw new DaemonError("REFUSED", `${list} cannot change while the daemon runs. Nothing was changed.`, {
      fix: "Restart the daemon, or take the change back and reload again.",
    });
  }
  return { changes: describe(before, after, ended, begun), ended: ended.map(({ name }) => name), begun };
}

function differing<T extends object>(before: T, after: T): (keyof T & string)[] {
  const all = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof T & string>;
  return [...all].filter((name) => !isDeepStrictEqual(before[name], after[name]));
}

const tlsKind = (tls: Settings["tls"]) =>
  tls === undefined ? "none" : tls.requestCert === true ? "with certificates of clients" : "plain";

function describe(
  before: Settings,
  after: Settings,
  ended: readonly SourceSettings[],
  begun: readonly SourceSettings[],
): readonly string[] {
  const is = (name: keyof Settings) => !isDeepStrictEqual(before[name], after[name]);
  const began = new Set(begun.map(({ name }) => name));
  const was = new Set(ended.map(({ name }) => name));
  return [
    ...ended.filter(({ name }) => !began.has(name)).map(({ name }) => `${name} is not followed any more.`),
    ...begun.map(({ name }) => (was.has(name) ? `${name} is followed in another way.` : `${name} is followed.`)),
    ...(is("access") ? ["Tokens and their rights changed."] : []),
    ...(is("tls") ? ["New connections get another certificate."] : []),
    ...(isDeepStrictEqual(before.topics?.auth, after.topics?.auth) ? [] : ["The users of topics changed."]),
    ...(isDeepStrictEqual(before.topics?.tls, after.topics?.tls)
      ? []
      : ["New connections to topics get another certificate."]),
    ...(is("hosts") ? ["The names that are answered to changed."] : []),
    ...(is("logLevel") ? [`The log level is ${after.logLevel}.`] : []),
    ...(is("requestsPerSecond") ? [`${after.requestsPerSecond} calls a second are allowed.`] : []),
    ...(is("audit") ? ["Audits are made in another way."] : []),
    ...(is("retention") ? ["History is kept for another time."] : []),
    ...(is("stopTimeoutMs") ? [`A stop may take ${after.stopTimeoutMs} ms.`] : []),
  ];
}
