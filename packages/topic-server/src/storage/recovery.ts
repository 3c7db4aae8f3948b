import { TopicServerError } from "../topic-server-error.ts";
import type { LogFile } from "./log-files.ts";
import { decodeRecord, headerBytes, magicBytes, recordBytesAt, type StoredRecord, syncedToAt } from "./record.ts";
import type { Segment } from "./segment.ts";

const chunkBytes = 1024 * 1024;

/** Reads records in order. Where it stops, the file has no whole record; `position` is there. */
class RecordReader {
  position = 0;
  readonly #file: LogFile;
  readonly #size: number;
  #chunk = Buffer.alloc(0);
  #origin = 0;

  constructor(file: LogFile) {
    this.#file = file;
    this.#size = file.size();
  }

  async next(): Promise<StoredRecord | undefined> {
    await this.#have(headerBytes);
    const bytes = recordBytesAt(this.#chunk, this.position - this.#origin);
    if (bytes === undefined || bytes > this.#size - this.position) return undefined;
    await this.#have(bytes);
    const record = decodeRecord(this.#chunk, this.position - this.#origin, this.#origin);
    if (record !== undefined) this.position += record.storedBytes;
    return record;
  }

  async #have(bytes: number): Promise<void> {
    if (this.#origin + this.#chunk.length - this.position >= bytes) return;
    const target = Buffer.allocUnsafeSlow(Math.min(Math.max(bytes, chunkBytes), this.#size - this.position));
    const got = await this.#file.read(target, this.position);
    this.#chunk = target.subarray(0, got);
    this.#origin = this.position;
  }
}

/**
 * Whether a record after `position` was written when what is at `position` was on the disk already. A crash cannot leave
 * that behind: it tears what was not synced, and that may well be the front of a group whose end arrived.
 */
async function hasLaterSynced(file: LogFile, position: number): Promise<number | undefined> {
  const rest = Buffer.allocUnsafeSlow(Math.max(0, file.size() - position));
  const got = rest.subarray(0, await file.read(rest, position));
  for (let at = got.indexOf(magicBytes); at !== -1; at = got.indexOf(magicBytes, at + 1)) {
    if (decodeRecord(got, at, position) !== undefined && syncedToAt(got, at) > position) return position + at;
  }
  return undefined;
}

export interface RecoverOptions {
  /** Takes every record, in order. */
  readonly onRecord: (record: StoredRecord) => void;
  /** Up to here the log is known to have been on the disk. */
  readonly minEndOffset: number;
  /** Only the newest segment can end in a torn write. */
  readonly isLast: boolean;
}

/**
 * Reads a segment to its end, and cuts what a crash tore off behind it, so that the next write starts on clean ground.
 *
 * @throws {TopicServerError} `CORRUPT` for damage that no crash explains; nothing was changed then.
 */
export async function recoverSegment(segment: Segment, options: RecoverOptions): Promise<void> {
  await segment.using(async (file) => {
    const reader = new RecordReader(file);
    const corrupt = (what: string) =>
      new TopicServerError(
        "CORRUPT",
        `${segment.path} is damaged at byte ${reader.position} (offset ${segment.endOffset}): ${what}. ` +
          "Nothing was changed. Restore the file from a copy, or move the partition's folder away and lose its messages",
      );
    for (;;) {
      const record = await reader.next();
      if (record === undefined) break;
      if (record.baseOffset !== segment.endOffset) {
        throw corrupt(`expected offset ${segment.endOffset}, got ${record.baseOffset}`);
      }
      segment.note(record.baseOffset, record.count, record.storedBytes, record.writtenAtMs);
      options.onRecord(record);
    }
    const end = reader.position;
    const later = await hasLaterSynced(file, end);
    if (later !== undefined) throw corrupt(`a record at byte ${later} was written after it was safely on the disk`);
    if (segment.endOffset < options.minEndOffset) {
      throw corrupt(`the log was on the disk up to offset ${options.minEndOffset}`);
    }
    if (file.size() === end) return;
    if (!options.isLast && !(await isZero(file, end))) throw corrupt("a newer segment follows");
    await file.truncate(end);
    await file.sync();
  });
}

async function isZero(file: LogFile, from: number): Promise<boolean> {
  const rest = Buffer.allocUnsafeSlow(file.size() - from);
  const got = await file.read(rest, from);
  return rest.subarray(0, got).every((byte) => byte === 0);
}
