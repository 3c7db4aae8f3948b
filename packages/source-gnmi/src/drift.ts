import { create } from "@bufbuild/protobuf";
import type { Clock } from "@tidemark/clock";
import type { DeviceState } from "./device-state.ts";
import { type Json, parseExactJson } from "./exact-json.ts";
import { toGnmiError } from "./failure.ts";
import { SetRequestSchema, UpdateSchema } from "./gen/gnmi/gnmi_pb.ts";
import type { GnmiError } from "./gnmi-error.ts";
import type { DeviceLink } from "./gnmi-link.ts";
import { formatPath, type GnmiPath, parsePath, rootPath } from "./path.ts";
import { type FlattenOptions, flatten } from "./subtree.ts";
import { type EncodingName, isSubtree, writeValue } from "./typed-value.ts";
import { toWirePath } from "./wire-path.ts";

/** One leaf that is not as it should be, as JSON text; undefined: it should not be, or is not there. */
export interface GnmiDifference {
  readonly path: string;
  readonly desired: string | undefined;
  readonly running: string | undefined;
}

/** What a comparison found. */
export interface GnmiDrift {
  readonly differences: readonly GnmiDifference[];
  /** The device took what it should have; the subscription shows it soon. */
  readonly isCorrected: boolean;
  /** What kept the tree from being read or the device from being corrected; tried again at the next comparison. */
  readonly error: Error | undefined;
}

/** How a device should be, and what to do where it is not. */
export interface GnmiDesired {
  /** Below what the tree is. It must be within the subscriptions. @default "/" */
  readonly path?: string;
  /** The tree as it should be; asked for before every comparison. */
  read(signal: AbortSignal): Json | Promise<Json>;
  /**
   * Nothing else may be below `path`: what the tree does not have is a difference too. Without this only what the tree has
   * is compared.
   * @default false
   */
  readonly isWhole?: boolean;
  /** Changes the device with Set where it differs. @default false: only said */
  readonly correct?: boolean;
  /** Time between two comparisons, in milliseconds, above 0. The first comes with the first sync. @default 60_000 */
  readonly intervalMs?: number;
  /** Told of every comparison that found something or failed. */
  onDrift(drift: GnmiDrift): void;
}

export const gnmiDesiredDefaults = { path: "/", isWhole: false, correct: false, intervalMs: 60_000 } as const;

/** What differs between a tree and the leaves that are known. */
export function differencesFrom(
  desired: Json,
  options: FlattenOptions & Pick<GnmiDesired, "path" | "isWhole">,
  leaves: Iterable<readonly [path: string, leaf: { readonly text: string }]>,
): readonly GnmiDifference[] {
  const base = parsePath(options.path ?? gnmiDesiredDefaults.path);
  const below = formatPath(base);
  const wanted = new Map<string, string>();
  if (isSubtree(desired)) {
    flatten(desired, options, (elems, text) =>
      wanted.set(formatPath({ ...base, elems: [...base.elems, ...elems] }), text),
    );
  } else wanted.set(below, JSON.stringify(desired));
  const differences: GnmiDifference[] = [];
  for (const [path, { text }] of leaves) {
    const want = wanted.get(path);
    wanted.delete(path);
    if (want === undefined) {
      if (options.isWhole === true && isBelow(path, base))
        differences.push({ path, desired: undefined, running: text });
    } else if (!isSame(want, text)) differences.push({ path, desired: want, running: text });
  }
  for (const [path, want] of wanted) differences.push({ path, desired: want, running: undefined });
  return differences;
}

/** Other origins and targets have trees of their own. */
function isBelow(path: string, base: GnmiPath): boolean {
  const above = formatPath(base);
  if (base.elems.length > 0) return path === above || path.startsWith(`${above}/`) || path.startsWith(`${above}[`);
  return path.startsWith(above) && formatPath({ ...parsePath(path), elems: [] }) === above;
}

/** RFC 7951 writes numbers of 64 bits as text, other encodings as numbers: both mean the same. */
function isSame(a: string, b: string): boolean {
  const plain = (text: string) => (/^"-?\d+(\.\d+)?"$/.test(text) ? text.slice(1, -1) : text);
  return a === b || plain(a) === plain(b);
}

export interface DriftWatchOptions {
  readonly desired: GnmiDesired;
  readonly flatten: FlattenOptions;
  readonly target: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** What is known now; undefined while there is no connection that has told everything. */
  current(): { readonly state: DeviceState; readonly link: DeviceLink; readonly encoding: EncodingName } | undefined;
}

/** Compares now and then, beside the stream: nothing that it does holds back a notification or a commit. */
export class DriftWatch {
  readonly #options: DriftWatchOptions;
  #isRunning = false;

  constructor(options: DriftWatchOptions) {
    this.#options = options;
  }

  /** Begins with the first call; never rejects. */
  async start(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    const { desired, clock, signal } = this.#options;
    const intervalMs = desired.intervalMs ?? gnmiDesiredDefaults.intervalMs;
    while (!signal.aborted) {
      await this.#compare();
      await clock.sleep(intervalMs, { signal, isRef: false }).catch(() => {});
    }
  }

  async #compare(): Promise<void> {
    const { desired, signal } = this.#options;
    if (this.#options.current() === undefined) return;
    let differences: readonly GnmiDifference[] = [];
    let error: Error | undefined;
    let isCorrected = false;
    try {
      const tree = await desired.read(signal);
      // Taken after the tree was read: as new as can be, and over the connection that there is now.
      const found = this.#options.current();
      if (found === undefined) return;
      differences = differencesFrom(tree, { ...this.#options.flatten, ...desired }, found.state.leaves());
      if (desired.correct === true && differences.length > 0) {
        await this.#correct(differences, found.link, found.encoding);
        isCorrected = true;
      }
    } catch (reason) {
      if (signal.aborted) return;
      error = reason instanceof Error ? reason : new Error(String(reason));
    }
    if (differences.length > 0 || error !== undefined) desired.onDrift({ differences, isCorrected, error });
  }

  /** One transaction. */
  async #correct(differences: readonly GnmiDifference[], link: DeviceLink, encoding: EncodingName): Promise<void> {
    const { target, signal } = this.#options;
    const sent = encoding === "json" ? "json" : "json_ietf";
    const request = create(SetRequestSchema, {
      ...(target !== "" && { prefix: toWirePath({ ...rootPath, target }) }),
      delete: differences.filter(({ desired }) => desired === undefined).map(({ path }) => toWirePath(pathOf(path))),
      update: differences.flatMap(({ path, desired }) => {
        if (desired === undefined) return [];
        return [
          create(UpdateSchema, { path: toWirePath(pathOf(path)), val: writeValue(parseExactJson(desired), sent) }),
        ];
      }),
    });
    await link
      .call((client, options) => client.set(request, options), signal)
      .catch((reason: unknown): never => {
        throw toGnmiError(reason, link.endpoint) satisfies GnmiError;
      });
  }
}

function pathOf(text: string): GnmiPath {
  return { ...parsePath(text), target: "" };
}
