import { TopicServerError } from "../topic-server-error.ts";
import type { PartitionLogOptions } from "./log-options.ts";
import type { StoredRecord } from "./record.ts";
import { recoverSegment } from "./recovery.ts";
import { Segment } from "./segment.ts";
import type { SegmentList } from "./segment-list.ts";

/**
 * Finds a log's files, brings their end in order after a crash, and fills `segments`.
 *
 * @returns whether the last one takes more records.
 * @throws {TopicServerError} `CORRUPT` for damage that no crash explains.
 */
export async function openSegments(segments: SegmentList, options: PartitionLogOptions): Promise<boolean> {
  const { files, folder, sealed, checkpointOffset, startOffset } = options;
  const bases = (await files.list(folder)).map(Segment.baseOffsetOf).filter((base) => base !== undefined);
  bases.sort((a, b) => a - b);
  const metas = new Map(sealed.map((meta) => [meta.baseOffset, meta]));
  let end = startOffset;
  let isOpen = false;
  for (const [index, base] of bases.entries()) {
    const segment = new Segment(files, `${folder}/${Segment.fileName(base)}`, base);
    const isLast = index === bases.length - 1;
    // Given up before a crash, and only its file is left.
    if (!isLast && (bases[index + 1] as number) <= startOffset) {
      await files.remove(segment.path);
      continue;
    }
    if (base !== end && !(segments.length === 0 && base <= startOffset)) {
      throw new TopicServerError("CORRUPT", `${folder} has no segment for offset ${end}: the next one is at ${base}`);
    }
    // At once: where it turns out to be damaged, its file has to be closed, too.
    segments.push(segment);
    const meta = metas.get(base);
    if (meta !== undefined) {
      segment.restore(meta);
      const size = await segment.using(async (file) => file.size());
      if (size < meta.bytes) {
        throw new TopicServerError("CORRUPT", `${segment.path} has ${size} bytes, expected ${meta.bytes}`);
      }
    } else {
      const onRecord = (record: StoredRecord) => {
        if (record.baseOffset >= checkpointOffset) options.onRecovered(record);
      };
      await recoverSegment(segment, { onRecord, isLast, minEndOffset: isLast ? checkpointOffset : 0 });
      if (isLast) isOpen = true;
      else options.onSealed(segment.meta());
    }
    end = segment.endOffset;
    if (meta !== undefined && end > checkpointOffset) {
      await segments.replay(segment, checkpointOffset, options.onRecovered);
    }
  }
  if (end < checkpointOffset) {
    const text = `${folder} ends at offset ${end}, but was on the disk to ${checkpointOffset}`;
    throw new TopicServerError("CORRUPT", text);
  }
  return isOpen;
}
