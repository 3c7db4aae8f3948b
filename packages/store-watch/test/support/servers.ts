import { startDatabases } from "@tidemark/tooling/servers";
import type { TestProject } from "vitest/node";
import { bundleThreads } from "./threads.ts";

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await bundleThreads();
  return startDatabases(project, ["postgres"]);
}
