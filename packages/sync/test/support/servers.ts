import { startDatabases } from "@tidemark/tooling/servers";
import type { TestProject } from "vitest/node";

export default function setup(project: TestProject): Promise<() => Promise<void>> {
  return startDatabases(project, ["postgres"]);
}
