/**
 * What is known of one migration, as `list()` of `@tidemark/migrate` tells it. Times are ms since the epoch, by the clock
 * that wrote them.
 */
export interface MigrationSample {
  readonly name: string;
  /** One of the states of `@tidemark/migrate`, or `stalled`. Another one is shown as unknown, and never as steady. */
  readonly state: string;
  /** What the books say; differs from `state` for `stalled` alone. */
  readonly storedState: string;
  readonly runNo: number;
  readonly rowsDone: number;
  readonly rowsChanged: number;
  readonly rowsQuarantined: number;
  readonly total: number | undefined;
  readonly totalKind: string;
  readonly progress: number | undefined;
  readonly chunks: number;
  readonly rowsPerSecond: number | undefined;
  readonly etaMs: number | undefined;
  readonly yieldShare: number;
  readonly startedAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly heartbeatAt: number | undefined;
  readonly heartbeatMs: number;
  readonly updatedAt: number;
  readonly readAt: number;
  readonly owner: string | undefined;
  readonly throttleReason: string | undefined;
  readonly error: { readonly code: string; readonly message: string } | undefined;
  readonly waitsFor: readonly string[];
}
