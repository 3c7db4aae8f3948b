import type { FrameSink, ResumePoint, Source, SourceCapabilities } from "@tidemark/store-watch/contract";
import { buildTrees, type StoredLeaf } from "./build-tree.ts";
import type { LeafCounts } from "./device-state.ts";
import { DriftWatch } from "./drift.ts";
import type { Json } from "./exact-json.ts";
import { GnmiRun, type GnmiRunOptions } from "./gnmi-run.ts";
import { type GnmiSourceOptions, type ResolvedSource, resolveSource } from "./options.ts";
import type { GnmiSubscriptionMode } from "./subscription.ts";
import type { EncodingName } from "./typed-value.ts";

/** What a source has done and how it does it. */
export interface GnmiSourceStats extends Readonly<LeafCounts> {
  /** Leaves that there are. */
  readonly leaves: number;
  /** Connections that came to stand, earlier runs of the stream included. */
  readonly connections: number;
  /** Undefined before the first connection. */
  readonly encoding: EncodingName | undefined;
  /** What the device is asked for in the place of `on_change`; that itself unless it refused. */
  readonly onChangeMode: GnmiSubscriptionMode;
}

/** A device as a source, and what is known of it now. */
export interface GnmiSource extends Source {
  stats(): GnmiSourceStats;
  /** The device as it is known now, as JSON by target and origin; `/` where there is neither. See `buildTrees`. */
  trees(): Map<string, Json>;
}

/**
 * Follows a network device over gNMI, leaf by leaf: a snapshot at `sync_response`, then what each notification changes. It
 * reconnects by itself. A device cannot resume: every connection is a new epoch that begins with a `gap` and a snapshot,
 * and what the snapshot no longer has is deleted by whoever keeps the history.
 *
 * - Keys are paths as `formatPath` writes them, values are JSON text; what that does not say is in `attributes`, such as
 *   `{"type":"bytes"}`.
 * - A group is what came together, whole notifications; with `configOnly` it is a commit of the device where it tells them.
 * - There are no versions: a value that is set again to what it is makes no change.
 *
 * @throws {GnmiError} `OPTIONS_INVALID` or `PATH_INVALID`.
 */
export function gnmiSource(options: GnmiSourceOptions): GnmiSource {
  return new DeviceSource(resolveSource(options));
}

/** Not for users: puts something else in the place of the network, or of what all devices share. */
type DeviceParts = Pick<GnmiRunOptions, "openLink" | "turn">;

export class DeviceSource implements GnmiSource {
  readonly kind = "gnmi";
  readonly description: string;
  readonly scope: string;
  readonly capabilities: SourceCapabilities;
  readonly #options: ResolvedSource;
  readonly #parts: DeviceParts;
  #run: GnmiRun | undefined;

  constructor(options: ResolvedSource, parts: DeviceParts = {}) {
    this.#options = options;
    this.#parts = parts;
    this.description = options.description;
    this.scope = options.scope;
    this.capabilities = capabilitiesOf(options);
  }

  async run(from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal): Promise<void> {
    const lastConnection = this.#run?.connections ?? 0;
    const { desired, clock, target } = this.#options;
    const over = new AbortController();
    const drift =
      desired === undefined
        ? undefined
        : new DriftWatch({
            desired,
            flatten: this.#options,
            target,
            clock,
            signal: AbortSignal.any([signal, over.signal]),
            current: () => run.current(),
          });
    const run = new GnmiRun({
      options: this.#options,
      from,
      sink,
      lastConnection,
      onSynced: () => void drift?.start(),
      ...this.#parts,
    });
    this.#run = run;
    try {
      await run.execute(signal);
    } finally {
      over.abort();
    }
  }

  stats(): GnmiSourceStats {
    const run = this.#run;
    return {
      ...(run?.counts() ?? noCounts),
      leaves: run?.state.size ?? 0,
      connections: run?.connections ?? 0,
      encoding: run?.encoding,
      onChangeMode: run?.onChangeMode ?? "on_change",
    };
  }

  trees(): Map<string, Json> {
    const leaves: StoredLeaf[] = [];
    for (const [key, { text }] of this.#run?.state.leaves() ?? []) leaves.push({ key, value: text });
    return buildTrees(leaves);
  }
}

const noCounts: LeafCounts = {
  notifications: 0,
  updates: 0,
  unchanged: 0,
  deletes: 0,
  duplicates: 0,
  outOfOrder: 0,
  unreadable: 0,
};

function capabilitiesOf({ mode, subscriptions }: ResolvedSource): SourceCapabilities {
  // A sample does not say what is gone (openconfig/reference#220); a round of everything does.
  const tellsDeletions = mode !== "stream" || subscriptions.every((each) => (each.mode ?? "on_change") === "on_change");
  return {
    resumable: false,
    transactional: false,
    tombstones: tellsDeletions,
    snapshotMarker: true,
    tooOldSignal: true,
    ordered: true,
    versioned: false,
  };
}
