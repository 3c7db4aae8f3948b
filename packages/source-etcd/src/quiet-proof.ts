import type { EtcdLink } from "./etcd-link.ts";
import type { KeyRange } from "./key-range.ts";
import type { Anchor } from "./watch-state.ts";
import { createWatch } from "./watch-requests.ts";

/** Once everything up to `after` was handed on, so was everything up to `upTo`. */
export interface QuietProof {
  readonly after: bigint;
  readonly upTo: bigint;
}

/** etcd reads a watch's past in batches of so many revisions (`watchBatchMaxRevs`), in all versions. */
const batchRevisions = 1_000;

/**
 * Finds out how far an idle range is without waiting for an event, on servers whose progress answers overtake events: a
 * second, short watch begins at a put that we know. etcd answers with one batch of everything from there on, read at the
 * revision in its header, and the put marks its beginning. A batch that is not full is all there was.
 *
 * @returns undefined where it proves nothing: the put is compacted away, or too much happened since.
 */
export async function proveQuiet(
  link: EtcdLink,
  range: KeyRange,
  anchor: Anchor,
  signal: AbortSignal,
): Promise<QuietProof | undefined> {
  const done = new AbortController();
  const limit = AbortSignal.any([signal, done.signal]);
  async function* requests() {
    yield createWatch(range, anchor.revision, true);
    // The call stays open until the answer is there.
    await new Promise<void>((resolve) => limit.addEventListener("abort", () => resolve(), { once: true }));
  }
  let revisions = 0;
  let last = 0n;
  try {
    for await (const { header, events, canceled, fragment } of link.watch(requests(), limit)) {
      if (canceled) return undefined;
      if (events.length === 0) continue;
      if (revisions === 0 && events[0]?.kv?.modRevision !== anchor.revision) return undefined;
      for (const { kv } of events) {
        const revision = kv?.modRevision ?? 0n;
        if (revision !== last) revisions++;
        last = revision;
      }
      if (fragment) continue;
      return revisions < batchRevisions && header !== undefined ? { after: last, upTo: header.revision } : undefined;
    }
    return undefined;
  } finally {
    done.abort();
  }
}
