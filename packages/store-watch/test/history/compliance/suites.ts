import type { Backend } from "./backend.ts";
import { invariantsCompliance } from "./invariants.ts";
import { quarantineCompliance } from "./quarantine.ts";
import { readsCompliance } from "./reads.ts";
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
