import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type ConformanceOptions, sourceConformance } from "@tidemark/store-watch/testing";
import { UsageError } from "../usage-error.ts";
import { type ConformanceCheck, runChecks } from "./checks.ts";
import { type HistoryConformanceOptions, historyConformance } from "./history-conformance.ts";
import { type SinkConformanceOptions, sinkConformance } from "./sink-conformance.ts";
import { type TopicsConformanceOptions, topicsConformance } from "./topics-conformance.ts";

/** What the module of an adapter's author exports, each under the name of its kind. */
interface Adapters {
  readonly source?: ConformanceOptions;
  readonly sink?: SinkConformanceOptions;
  readonly history?: HistoryConformanceOptions;
}

export const adapterKinds = ["source", "sink", "history"] as const;
export type AdapterKind = (typeof adapterKinds)[number];

type Say = { readonly say: (line: string) => void };

/** Runs every check against a topic service and says what it keeps. @returns the exit code */
export function conformTopics({ say, ...options }: TopicsConformanceOptions & Say): Promise<number> {
  return runChecks(topicsConformance(options), { say });
}

/**
 * Runs every check of a kind against what a module exports under that name.
 *
 * @param file the author's, in TypeScript or JavaScript, relative to the working directory
 * @returns the exit code
 */
export async function conformAdapter(kind: AdapterKind, file: string, { say }: Say): Promise<number> {
  const adapters = (await import(pathToFileURL(resolve(file)).href)) as Adapters;
  return runChecks(checksOf(kind, file, adapters), { say });
}

function checksOf(kind: AdapterKind, file: string, { source, sink, history }: Adapters): readonly ConformanceCheck[] {
  if (kind === "source" && source !== undefined) return sourceConformance(source);
  if (kind === "sink" && sink !== undefined) return sinkConformance(sink);
  if (kind === "history" && history !== undefined) return historyConformance(history);
  throw new UsageError(
    `${file} must export what conformance is about as "${kind}": see apps/harness/examples/adapters.ts`,
  );
}
