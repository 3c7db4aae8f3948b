import type { Backend } from "./backend.ts";
import { graphReadsCompliance } from "./graph-reads.ts";
import { graphsCompliance } from "./graphs.ts";
import { invariantsCompliance } from "./invariants.ts";
import { mirrorsCompliance } from "./mirrors.ts";
import { quarantineCompliance } from "./quarantine.ts";
import { readsCompliance } from "./reads.ts";
import { retentionCompliance } from "./retention.ts";
import { streamsCompliance } from "./streams.ts";
import { viewsCompliance } from "./views.ts";

/** What a history promises, whatever database keeps it. */
export function historyCompliance(backend: Backend): void {
  for (const suite of [
    streamsCompliance,
    invariantsCompliance,
    readsCompliance,
    quarantineCompliance,
    viewsCompliance,
  ]) {
    suite(backend);
  }
}

/** What its graphs promise. */
export function graphCompliance(backend: Backend): void {
  for (const suite of [graphReadsCompliance, graphsCompliance, mirrorsCompliance, retentionCompliance]) suite(backend);
}
