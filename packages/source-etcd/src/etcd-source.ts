import {
  type Epoch,
  type FrameSink,
  type ResumePoint,
  type Source,
  type SourceCapabilities,
  sortableInteger,
} from "@tidemark/store-watch/contract";
import { EtcdError } from "./etcd-error.ts";
import { EtcdRun, type LiveRun } from "./etcd-run.ts";
import { Gate } from "./gate.ts";
import { rangeDigest } from "./key-range.ts";
import { type EtcdSourceOptions, type ResolvedOptions, resolveOptions } from "./options.ts";

const capabilities: SourceCapabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

class EtcdSource implements Source {
  readonly kind = "etcd";
  readonly description: string;
  readonly scope: string;
  readonly capabilities = capabilities;
  readonly #options: ResolvedOptions;
  readonly #live = new Gate<LiveRun>();
  /** What somebody was promised a frame for; it holds for the next run too. */
  #promised: { readonly epoch: Epoch; readonly revision: bigint } | undefined;

  constructor(options: EtcdSourceOptions) {
    this.#options = resolveOptions(options);
    this.description = this.#options.description;
    this.scope = rangeDigest(this.#options.range);
  }

  async run(from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal): Promise<void> {
    const onLive = (live: LiveRun | undefined) => (live === undefined ? this.#live.shut() : this.#live.open(live));
    const wanted = from !== undefined && from.epoch === this.#promised?.epoch ? this.#promised.revision : 0n;
    await new EtcdRun({ options: this.#options, from, sink, wanted, onLive }).execute(signal);
  }

  async barrier(signal: AbortSignal): Promise<ResumePoint> {
    for (;;) {
      const { link, epoch, want } = await this.#live.pass(signal);
      try {
        const key = this.#options.range.start;
        const { header } = await link.range({ key, keysOnly: true, limit: 1n }, signal);
        if (header === undefined) throw new EtcdError("PROTOCOL", "etcd sent an answer without a header");
        this.#promised = { epoch, revision: header.revision };
        want(header.revision);
        return { epoch, cursor: sortableInteger(header.revision) };
      } catch (error) {
        signal.throwIfAborted();
        // The connection broke, and the source knows or will know soon: the next one will answer.
        if (!EtcdError.is(error) || !error.retryable) throw error;
        await this.#options.clock.sleep(50, { signal });
      }
    }
  }
}

/**
 * Follows the keys of an etcd v3 cluster: a snapshot at one revision, then every change after it, one group of frames per
 * revision. It reconnects by itself, to the next endpoint each time, and resumes after the last complete revision. What
 * etcd has compacted away meanwhile is a `gap` and a new snapshot; a store that was wiped, restored or replaced is that
 * and a new epoch.
 *
 * - Cursors and versions are revisions, as `sortableInteger` writes them; see `parseSortableInteger`.
 * - `barrier()` waits until the watch stands, and costs one quorum read.
 *
 * @throws {EtcdError} `OPTIONS_INVALID`.
 */
export function etcdSource(options: EtcdSourceOptions): Source & Required<Pick<Source, "barrier">> {
  return new EtcdSource(options);
}
