/** What decides how many rows the next chunk takes. */
export interface ServoOptions {
  /**
   * How long a chunk may hold its locks, in milliseconds, above 0. Time is the knob; the number of rows follows.
   * @default 10
   */
  readonly targetMs?: number;
  /**
   * Rows of the first chunk, before anything is known; caches are cold then, and a session has seen no statement yet.
   * @default 20
   */
  readonly initialRows?: number;
  /**
   * Never fewer rows than this, at least 1.
   * @default 1
   */
  readonly minRows?: number;
  /**
   * Never more rows than this.
   * @default 50_000
   */
  readonly maxRows?: number;
}

/** The defaults of `ServoOptions`. */
export const servoDefaults = {
  targetMs: 10,
  initialRows: 20,
  minRows: 1,
  maxRows: 50_000,
} as const satisfies Required<ServoOptions>;

/** Chunks that are remembered; the slowest tenth of them counts. */
const windowSize = 10;
/** A chunk may be this much larger than the last one. */
const maxGrowth = 1.5;
/** A chunk this much over its target is no noise: the next one shrinks at once by the same measure. */
export const panicFactor = 5;
/** So many chunks in a row that promise room for at least twice the rows mean that what is remembered is of the past. */
const recoveryRun = 3;
/** So many chunks tell a wait that they all have from one that a few had. */
const waitRun = 5;

/** What the servo remembers; a value, never changed in place. */
export interface ServoState {
  /** Rows for the next chunk. */
  readonly rows: number;
  /** The latest chunks, oldest first. */
  readonly chunks: readonly ServoChunk[];
}

/** A chunk that was measured. */
interface ServoChunk {
  readonly rows: number;
  readonly tookMs: number;
}

/** What happened to a chunk. */
export type ServoEvent =
  | { readonly type: "measured"; readonly rows: number; readonly tookMs: number }
  /** The database ended the chunk because it took too long, or had to choose between it and somebody else. */
  | { readonly type: "cut" };

/** What is worth telling about a step. */
export type ServoNote = "panic" | "split" | undefined;

export function initialServo(options: Required<ServoOptions>): ServoState {
  return { rows: clamp(options.initialRows, options), chunks: [] };
}

/** The next size and why, if it is worth telling. */
export function nextServo(
  state: ServoState,
  event: ServoEvent,
  options: Required<ServoOptions>,
): readonly [ServoState, ServoNote] {
  if (event.type === "cut") {
    return [{ rows: clamp(Math.floor(state.rows / 2), options), chunks: [] }, "split"];
  }
  if (event.rows <= 0 || !Number.isFinite(event.tookMs)) return [state, undefined];
  const { targetMs } = options;
  const chunk = { rows: event.rows, tookMs: Math.max(event.tookMs, 0) };
  if (chunk.tookMs > panicFactor * targetMs) {
    const rows = clamp(Math.floor(Math.min(state.rows, chunk.rows) * (targetMs / chunk.tookMs)), options);
    return [{ rows, chunks: [chunk] }, "panic"];
  }
  let chunks = [...state.chunks, chunk].slice(-windowSize);
  const latest = chunks.slice(-recoveryRun);
  if (latest.length === recoveryRun && latest.every((each) => costOf(each) * state.rows * 2 <= targetMs))
    chunks = latest;
  const slow = percentile90(chunks.map(costOf));
  const wanted = slow === 0 ? Number.POSITIVE_INFINITY : targetMs / slow;
  // A chunk that was cut short by the end of a page says nothing about a larger one, so growth starts from the limit.
  const most = Math.max(state.rows * maxGrowth, state.rows + 1);
  const rows = clamp(Math.floor(Math.min(Math.max(wanted, worthwhile(chunks, targetMs)), most)), options);
  return [{ rows, chunks }, undefined];
}

/** After several chunks of one size: the next one may be as much larger than them as it may be than one. */
export function heldTo(state: ServoState, rows: number, options: Required<ServoOptions>): ServoState {
  return { ...state, rows: clamp(Math.min(state.rows, Math.floor(Math.max(rows * maxGrowth, rows + 1))), options) };
}

/**
 * Rows below which a chunk is mostly waiting, for a processor or for the way to the server: fewer of them would not make it
 * shorter, but all of them longer. The work then is worth the wait, and at most half the target at its best.
 */
function worthwhile(chunks: readonly ServoChunk[], targetMs: number): number {
  // The best of them says what a row costs when nothing is in the way.
  const best = Math.min(...chunks.map(costOf));
  if (chunks.length < waitRun || best === 0) return 0;
  const waits = chunks.map(({ rows, tookMs }) => tookMs - best * rows).sort((a, b) => a - b);
  const usual = waits[Math.floor(waits.length / 2)] ?? 0;
  return Math.min(usual, targetMs / 2) / best;
}

const costOf = ({ rows, tookMs }: ServoChunk) => tookMs / rows;

/** The value that nine in ten do not exceed. */
export function percentile90(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * 0.9) - 1] ?? 0;
}

function clamp(rows: number, { minRows, maxRows }: Required<ServoOptions>): number {
  return Math.min(Math.max(rows, minRows), maxRows);
}
