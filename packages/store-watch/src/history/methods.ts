import type { ResumePoint } from "../contract.ts";
import type { FrameBufferParts } from "../frame-layout.ts";
import type {
  FsckReport,
  GapRecord,
  KeyRange,
  OpenStreamOptions,
  QuarantineRecord,
  StreamRecord,
} from "../history-types.ts";
import type { ErrorRecord } from "../worker/error-record.ts";
import type {
  ConflictGroup,
  GraphApplied,
  GraphEdit,
  GraphHead,
  GraphIngested,
  GraphMessage,
  GraphOptions,
  GraphPruned,
  GraphPruneOptions,
  GraphRestored,
  GraphSnapshotPart,
  GraphStatus,
  GraphWritten,
  StoreResult,
  StoreTransaction,
} from "./graph-types.ts";
import type { PackedVersions } from "./version-packing.ts";

/** A position between threads: they are far below 2^53. */
export type PositionNumber = number;

/** `AsOf` with numbers. */
export interface AsOfInput {
  readonly timeMs?: number;
  readonly position?: PositionNumber;
  readonly cursor?: string;
}

export type OpenedStream = { readonly id: number; readonly token: number; readonly resume: ResumePoint | undefined };

export interface AppendInput {
  readonly stream: number;
  readonly token: number;
  readonly parts: FrameBufferParts;
  readonly nowMs: number;
}

export type AppendOutput =
  | {
      readonly parts: FrameBufferParts;
      readonly error?: undefined;
      readonly resume: ResumePoint | undefined;
      readonly position: PositionNumber;
      readonly versions: number;
      readonly duplicates: number;
      readonly quarantined: number;
      readonly gaps: number;
      readonly commitMs: number;
    }
  | { readonly parts: FrameBufferParts; readonly error: ErrorRecord };

/** Which graph, and that it is its newest opening that asks. */
export interface GraphInput {
  readonly stream: number;
  readonly token: number;
}

export interface OpenedGraph extends GraphInput {
  readonly origin: string;
}

/** What the writer's thread does, one at a time. */
export type WriterMethods = {
  open(input: { readonly file: string; readonly synchronous: "normal" | "full"; readonly origin: string }): {
    readonly origin: string;
  };
  openStream(input: { readonly options: OpenStreamOptions; readonly nowMs: number }): OpenedStream;
  append(input: AppendInput): AppendOutput;
  openGraph(input: { readonly options: GraphOptions; readonly nowMs: number }): OpenedGraph;
  graphWrite(input: GraphInput & { readonly edits: readonly GraphEdit[]; readonly nowMs: number }): GraphWritten;
  graphApply(input: GraphInput & { readonly messages: readonly Uint8Array[]; readonly nowMs: number }): GraphApplied;
  graphBatches(
    input: GraphInput & { readonly after: number; readonly maxBytes: number | undefined },
  ): readonly GraphMessage[];
  graphMissing(
    input: GraphInput & { readonly vector: Readonly<Record<string, number>>; readonly maxBytes: number | undefined },
  ): readonly Uint8Array[];
  graphHeads(input: GraphInput & { readonly key: Uint8Array }): readonly GraphHead[];
  graphConflict(input: GraphInput & { readonly after: number }): ConflictGroup | undefined;
  graphStatus(input: GraphInput): GraphStatus;
  graphAnnounce(input: GraphInput & { readonly nowMs: number }): GraphWritten;
  graphPrune(input: GraphInput & { readonly options: GraphPruneOptions; readonly nowMs: number }): GraphPruned;
  graphSnapshot(input: GraphInput & { readonly after: string | undefined }): GraphSnapshotPart;
  graphRestore(
    input: GraphInput & { readonly part: Uint8Array; readonly published: number; readonly nowMs: number },
  ): GraphRestored;
  graphMirror(input: GraphInput & { readonly source: string; readonly nowMs: number }): void;
  graphIngest(input: GraphInput & { readonly nowMs: number }): GraphIngested;
  graphStoreWrites(
    input: GraphInput & { readonly maxTransactions: number | undefined; readonly nowMs: number },
  ): readonly StoreTransaction[];
  graphSettle(input: GraphInput & { readonly results: readonly StoreResult[]; readonly nowMs: number }): void;
  graphUnsettled(input: GraphInput): boolean;
  graphLose(input: GraphInput & { readonly position: string | undefined; readonly nowMs: number }): void;
  retryQuarantined(input: { readonly id: number; readonly nowMs: number }): void;
  skipQuarantined(input: { readonly id: number; readonly reason: string }): void;
  setConsumer(input: {
    readonly name: string;
    readonly position: PositionNumber | undefined;
    readonly nowMs: number;
  }): void;
  prune(input: { readonly before: AsOfInput; readonly stream: string | undefined }): {
    readonly removed: number;
    readonly floor: PositionNumber;
  };
};

interface PageInput {
  readonly limit: number;
  readonly after: string | undefined;
}

export interface VersionPage {
  readonly versions: PackedVersions;
  readonly next: string | undefined;
}

export interface DiffPage {
  /** Two for each key: before, after. One that is not there has position 0. */
  readonly versions: PackedVersions;
  readonly next: string | undefined;
}

/** What a reader's thread does, one at a time. */
export type ReaderMethods = {
  open(input: { readonly file: string }): void;
  get(input: { readonly stream: string; readonly key: Uint8Array; readonly at: AsOfInput | undefined }): PackedVersions;
  list(
    input: PageInput & {
      readonly range: KeyRange;
      readonly at: AsOfInput | undefined;
      readonly includeDeleted: boolean;
    },
  ): VersionPage;
  log(input: PageInput & { readonly stream: string; readonly key: Uint8Array }): VersionPage;
  diff(input: PageInput & { readonly range: KeyRange; readonly from: AsOfInput; readonly to: AsOfInput }): DiffPage;
  changes(input: { readonly limit: number; readonly after: PositionNumber; readonly stream: string | undefined }): {
    readonly versions: PackedVersions;
    /** Up to where the log was searched. */
    readonly position: PositionNumber;
    readonly isEnd: boolean;
  };
  streams(input: undefined): readonly StreamRecord[];
  position(input: undefined): PositionNumber;
  gaps(input: { readonly stream: string | undefined }): readonly GapRecord[];
  quarantine(input: {
    readonly stream: string | undefined;
    readonly id: number | undefined;
    readonly includeResolved: boolean;
  }): readonly QuarantineRecord[];
  fsck(input: undefined): FsckReport;
};
