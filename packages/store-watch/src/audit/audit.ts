import { systemClock } from "@tidemark/clock";
import { StoreWatchError } from "../errors.ts";
import { AuditSide, bareDigestOf, readHistory, readSource, type SnapshotPosition, textOf } from "./audit-sides.ts";
import type { AuditDifference, AuditOptions, AuditReport } from "./audit-types.ts";

/** Entries that are compared one by one, on each side and on average: what bounds memory when everything differs. */
const maxCollected = 50_000;
const buckets = 65_536;
const shown = 100;

/** The two sides at one position. */
interface Comparison {
  readonly position: SnapshotPosition;
  readonly source: AuditSide;
  readonly replica: AuditSide;
  readonly differing: readonly number[];
}

class Inconclusive extends Error {}

/**
 * Compares a replica with its source, at one position and by checksum: what the source has now against what the history
 * has at the source's cursor. Where the sums differ it looks a second time, at the entries themselves, and only what
 * differs both times counts. A difference is corrected by a snapshot (see `Watcher.repair`), and compared once more.
 * Memory does not grow with the replica, and neither reading nor following waits for it.
 *
 * @throws {StoreWatchError} `OPTIONS_INVALID` for a source whose snapshots have no end or whose cursors do not last; what
 * the source said when it could not be read; `signal.reason`.
 */
export async function auditStream(options: AuditOptions): Promise<AuditReport> {
  return new Audit(options).run();
}

class Audit {
  readonly #options: AuditOptions;
  readonly #signal: AbortSignal;
  readonly #startedMs: number;
  readonly #found: Found = { missing: 0, extra: 0, changed: 0, quarantined: 0, isTruncated: false, differences: [] };

  constructor(options: AuditOptions) {
    const { source, signal, clock = systemClock } = options;
    const { snapshotMarker, resumable } = source.capabilities;
    if (!snapshotMarker || !resumable) {
      const why = snapshotMarker ? "its positions do not last" : "its snapshots have no end";
      throw new StoreWatchError("OPTIONS_INVALID", `a source of kind ${source.kind} cannot be audited: ${why}`);
    }
    this.#options = options;
    this.#signal = signal ?? new AbortController().signal;
    this.#startedMs = clock.monotonic();
  }

  async run(): Promise<AuditReport> {
    let last: Comparison | undefined;
    try {
      last = await this.#compare();
      if (last.differing.length === 0) return this.#report("equal", last);
      last = await this.#lookCloser(last);
      const { missing, extra, changed } = this.#found;
      if (missing + extra + changed === 0) return this.#report("equal", last);
      if (this.#options.isRepaired === false) return this.#report("different", last, "it was not to be repaired");
      await this.#options.watcher.repair(this.#summary(), { signal: this.#signal });
      const repaired = await this.#compare();
      const left = await this.#unexplained(repaired);
      if (left === 0) return this.#report("repaired", repaired);
      return this.#report("different", repaired, `${left} keys still differ after a snapshot was read`);
    } catch (error) {
      if (error instanceof Inconclusive) return this.#report("inconclusive", last, error.message);
      throw error;
    }
  }

  async #compare(wanted?: ReadonlySet<number>): Promise<Comparison> {
    const { history, watcher, source: of, clock = systemClock } = this.#options;
    const [source, replica] = [new AuditSide(wanted), new AuditSide(wanted)];
    const { gaps } = watcher.status();
    const position = await readSource(of, source, clock, this.#signal);
    try {
      const reached = await watcher.waitFor("now", { signal: this.#signal });
      if (reached.epoch !== position.epoch) throw new Inconclusive("the source was replaced meanwhile");
      if (reached.cursor < position.cursor)
        throw new Inconclusive("the source answers with an older state than before");
      const { name } = watcher;
      await readHistory(history, name, position.cursor, of.capabilities.versioned, replica, this.#signal);
    } catch (error) {
      const isMoved = StoreWatchError.is(error) && movedCodes.includes(error.code);
      throw isMoved ? new Inconclusive(error.message) : error;
    }
    // A snapshot in between does not say what was at its cursors before.
    if (watcher.status().gaps !== gaps) throw new Inconclusive("the stream began anew meanwhile");
    return { position, source, replica, differing: source.sums.differing(replica.sums) };
  }

  /** Which keys differ, and whether that is known to be so. */
  async #lookCloser({ differing, source }: Comparison): Promise<Comparison> {
    const perBucket = Math.max(1, source.sums.entries / buckets);
    const looked = differing.slice(0, Math.max(1, Math.floor(maxCollected / perBucket)));
    this.#found.isTruncated = looked.length < differing.length;
    const closer = await this.#compare(new Set(looked));
    await this.#explain(closer, this.#found);
    return closer;
  }

  /** How many keys differ that are not in quarantine. */
  async #unexplained({ differing }: Comparison): Promise<number> {
    if (differing.length === 0) return 0;
    const found: Found = { ...this.#found, missing: 0, extra: 0, changed: 0, quarantined: 0, differences: [] };
    await this.#explain(await this.#compare(new Set(differing.slice(0, maxCollected))), found);
    return found.missing + found.extra + found.changed;
  }

  async #explain({ source, replica }: Comparison, found: Found): Promise<void> {
    const { history, watcher, source: of } = this.#options;
    const records = await history.quarantine(watcher.name, { includeResolved: true });
    const known = new Set(source.poisoned);
    for (const { key, value, version, state } of records) {
      const name = textOf(key);
      // What a person skipped explains the key for as long as the source has just that: no repair brings it in either.
      const isSkipped = () => {
        const entry = {
          key,
          value: value ?? new Uint8Array(),
          version: of.capabilities.versioned ? version : undefined,
        };
        return state === "skipped" && source.bare.get(name) === bareDigestOf(entry);
      };
      if (state === "open" || isSkipped()) known.add(name);
    }
    const add = (key: string, kind: AuditDifference["kind"]) => {
      if (known.has(key)) {
        found.quarantined++;
        return;
      }
      found[kind]++;
      if (found.differences.length < shown) found.differences.push({ key: Buffer.from(key, "latin1"), kind });
    };
    for (const [key, digest] of source.collected) {
      const other = replica.collected.get(key);
      if (other === undefined) add(key, "missing");
      else if (other !== digest) add(key, "changed");
    }
    for (const key of replica.collected.keys()) if (!source.collected.has(key)) add(key, "extra");
  }

  #summary(): string {
    const { missing, extra, changed, isTruncated } = this.#found;
    const least = isTruncated ? "at least " : "";
    return `An audit found ${least}${missing} keys missing, ${extra} too many and ${changed} with other contents.`;
  }

  #report(verdict: AuditReport["verdict"], last: Comparison | undefined, reason?: string): AuditReport {
    const { watcher, clock = systemClock } = this.#options;
    return {
      stream: watcher.name,
      verdict,
      reason,
      epoch: last?.position.epoch,
      cursor: last?.position.cursor,
      keys: last?.source.sums.entries ?? 0,
      checksum: last?.source.sums.checksum() ?? "",
      ...this.#found,
      durationMs: clock.monotonic() - this.#startedMs,
    };
  }
}

interface Found {
  missing: number;
  extra: number;
  changed: number;
  quarantined: number;
  isTruncated: boolean;
  differences: AuditDifference[];
}

const movedCodes: readonly string[] = ["TOO_OLD", "NOT_REACHED", "EPOCH_CHANGED"];
