import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { fromBinary } from "@bufbuild/protobuf";
import { topicWire } from "@tidemark/topic/internal";
import Database from "better-sqlite3";

/** A message as it lies on the disk. */
interface StoredMessage {
  readonly offset: number;
  readonly producer: string;
  readonly seqNo: number;
  readonly text: string;
}

export interface StoredTopic {
  /** By partition, in the order of offsets. */
  readonly partitions: ReadonlyMap<number, readonly StoredMessage[]>;
  /** By partition, of the only consumer. */
  readonly committed: ReadonlyMap<number, number>;
}

const magic = 0x31525354;

/**
 * Reads the only topic of a service from its files, without any code of the service, while that is dead or stopped. Records
 * end where there is none any more, or where one is torn: what is behind was never acknowledged.
 */
export function readStoredTopic(folder: string): StoredTopic {
  // The service keeps its catalog to itself, so a copy is read.
  const copy = mkdtempSync(join(tmpdir(), "tidemark-catalog-"));
  for (const file of ["catalog.db", "catalog.db-wal"]) {
    if (existsSync(join(folder, file))) copyFileSync(join(folder, file), join(copy, file));
  }
  const database = new Database(join(copy, "catalog.db"));
  try {
    const topic = database.prepare("SELECT id FROM topics").pluck().get() as number;
    const ids = database.prepare("SELECT id FROM partitions WHERE topic_id = ? ORDER BY id").pluck().all(topic);
    const rows = database.prepare("SELECT partition, committed FROM offsets WHERE topic_id = ?").raw().all(topic);
    return {
      partitions: new Map((ids as number[]).map((id) => [id, readPartition(join(folder, "topics", `${topic}/${id}`))])),
      committed: new Map(rows as [number, number][]),
    };
  } finally {
    database.close();
    rmSync(copy, { recursive: true, force: true });
  }
}

function readPartition(folder: string): readonly StoredMessage[] {
  const files = readdirSync(folder).filter((name) => name.endsWith(".log"));
  return files.toSorted().flatMap((name) => [...readSegment(readFileSync(join(folder, name)))]);
}

/** The layout is told in `topic-server/src/storage/record.ts`. */
function* readSegment(bytes: Buffer): Generator<StoredMessage> {
  for (let at = 0; at + 84 <= bytes.length && bytes.readUInt32LE(at) === magic; ) {
    const headBytes = bytes.readUInt32LE(at + 8);
    const end = at + headBytes + bytes.readUInt32LE(at + 12);
    if (end > bytes.length || bytes.readUInt32LE(at + 4) !== crc32(bytes.subarray(at + 8, end))) return;
    const firstOffset = bytes.readDoubleLE(at + 32);
    const skipped = bytes.readUInt32LE(at + 80);
    const producer = bytes.toString("utf8", at + 84, at + 84 + bytes.readUInt32LE(at + 72));
    const { clientMessage } = fromBinary(
      topicWire.StreamWriteMessage_FromClientSchema,
      bytes.subarray(at + headBytes, end),
    );
    if (clientMessage.case !== "writeRequest") throw new Error(`the record at ${at} is no request to write`);
    for (const [index, { seqNo, data }] of clientMessage.value.messages.slice(skipped).entries()) {
      yield { offset: firstOffset + index, producer, seqNo: Number(seqNo), text: Buffer.from(data).toString() };
    }
    at = end;
  }
}
