import { graphKind } from "./ddl.ts";

/** A graph as a stream. */
export const graphStream = {
  kind: graphKind,
  scope: "",
  capabilities: {
    resumable: false,
    transactional: true,
    tombstones: true,
    snapshotMarker: false,
    tooOldSignal: true,
    ordered: true,
    versioned: true,
  },
} as const;
