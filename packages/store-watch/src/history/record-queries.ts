import type Database from "better-sqlite3";
import { and, asc, eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import type { GapReason, SourceCapabilities } from "../contract.ts";
import type { GapRecord, QuarantineRecord, StreamRecord } from "../history-types.ts";
import { epochs, gaps, quarantine, streams } from "./schema.ts";

const { placeholder } = sql;
const optional = <T>(value: T | null) => value ?? undefined;

/** Streams, gaps and quarantine as the API shows them. */
export class RecordQueries {
  readonly #streams;
  readonly #gaps;
  readonly #quarantine;

  constructor(client: Database.Database) {
    const db = drizzle({ client });
    const ofStream = sql`(${placeholder("stream")} IS NULL OR ${streams.name} = ${placeholder("stream")})`;
    this.#streams = db
      .select({ stream: streams, epoch: epochs.identity })
      .from(streams)
      .leftJoin(epochs, eq(epochs.id, streams.epoch))
      .orderBy(asc(streams.name))
      .prepare();
    this.#gaps = db
      .select({ gap: gaps, stream: streams.name, epoch: epochs.identity })
      .from(gaps)
      .innerJoin(streams, eq(streams.id, gaps.stream))
      .leftJoin(epochs, eq(epochs.id, gaps.epoch))
      .where(ofStream)
      .orderBy(asc(gaps.id))
      .prepare();
    this.#quarantine = db
      .select({ item: quarantine, stream: streams.name, epoch: epochs.identity })
      .from(quarantine)
      .innerJoin(streams, eq(streams.id, quarantine.stream))
      .innerJoin(epochs, eq(epochs.id, quarantine.epoch))
      .where(
        and(
          ofStream,
          sql`(${placeholder("resolved")} OR ${quarantine.state} = 'open')`,
          sql`(${placeholder("id")} IS NULL OR ${quarantine.id} = ${placeholder("id")})`,
        ),
      )
      .orderBy(asc(quarantine.id))
      .prepare();
  }

  streams(): StreamRecord[] {
    return this.#streams.all().map(({ stream, epoch }) => ({
      name: stream.name,
      kind: stream.kind,
      description: stream.description,
      scope: stream.scope,
      capabilities: JSON.parse(stream.capabilities) as SourceCapabilities,
      epoch: optional(epoch),
      cursor: optional(stream.cursor),
      keys: stream.keys,
      versions: stream.versions,
      gaps: stream.gaps,
      quarantined: stream.quarantined,
      lastCommitAtMs: optional(stream.lastCommitAt),
    }));
  }

  gaps(stream: string | undefined): GapRecord[] {
    return this.#gaps.all({ stream: stream ?? null }).map(({ gap, stream: name, epoch }) => ({
      id: gap.id,
      stream: name,
      epoch: optional(epoch),
      reason: gap.reason as GapReason,
      detail: gap.detail,
      from: optional(gap.fromCursor),
      to: optional(gap.toCursor),
      position: BigInt(gap.position),
      atMs: gap.at,
    }));
  }

  quarantine(stream: string | undefined, id: number | undefined, includeResolved: boolean): QuarantineRecord[] {
    const filter = { stream: stream ?? null, id: id ?? null, resolved: includeResolved ? 1 : 0 };
    return this.#quarantine.all(filter).map(({ item, stream: name, epoch }) => ({
      id: item.id,
      stream: name,
      key: new Uint8Array(item.key),
      kind: item.value === null ? "delete" : "put",
      value: item.value === null ? undefined : new Uint8Array(item.value),
      version: optional(item.version),
      epoch,
      cursor: item.cursor,
      error: item.error,
      atMs: item.at,
      state: item.state as QuarantineRecord["state"],
      resolution: optional(item.resolution),
    }));
  }
}
