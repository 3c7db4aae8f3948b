import type { MigrationSample } from "../../src/index.ts";

export const at = (seconds: number) => Date.parse("2026-01-01T00:00:00Z") + seconds * 1000;

/** A migration that has been running for ten seconds and has done 100 of 1000 rows. */
export function sampleOf(changes: Partial<MigrationSample> = {}): MigrationSample {
  const state = changes.state ?? "running";
  return {
    name: "fill",
    state,
    storedState: state === "stalled" ? "running" : state,
    runNo: 1,
    rowsDone: 100,
    rowsChanged: 90,
    rowsQuarantined: 0,
    total: 1000,
    totalKind: "exact",
    progress: 0.1,
    chunks: 5,
    rowsPerSecond: 10,
    etaMs: 90_000,
    yieldShare: 0.5,
    startedAt: at(-10),
    endedAt: undefined,
    heartbeatAt: at(0),
    heartbeatMs: 5000,
    updatedAt: at(0),
    readAt: at(0),
    owner: "host:1:a",
    throttleReason: undefined,
    error: undefined,
    waitsFor: [],
    ...changes,
  };
}
