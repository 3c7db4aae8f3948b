/**
 * The fast way through messages that are laid out as all known encoders lay them out: fields in order, each once, numbers
 * below 2^35. Whatever else comes goes the general way, over `Scanner`.
 */
export const plain = {
  /** Where the number read last ended. */
  next: 0,
};

/** An unsigned number below 2^35; -1: it is none. May look up to four bytes beyond it. */
export function plainNumber(bytes: Uint8Array, at: number): number {
  let byte = bytes[at] as number;
  if (byte < 0x80) {
    plain.next = at + 1;
    return byte;
  }
  let value = byte & 0x7f;
  byte = bytes[at + 1] as number;
  if (byte < 0x80) {
    plain.next = at + 2;
    return value | (byte << 7);
  }
  value |= (byte & 0x7f) << 7;
  byte = bytes[at + 2] as number;
  if (byte < 0x80) {
    plain.next = at + 3;
    return value | (byte << 14);
  }
  value |= (byte & 0x7f) << 14;
  byte = bytes[at + 3] as number;
  if (byte < 0x80) {
    plain.next = at + 4;
    return value | (byte << 21);
  }
  value |= (byte & 0x7f) << 21;
  byte = bytes[at + 4] as number;
  if (byte < 0x80) {
    plain.next = at + 5;
    return value + byte * 0x1000_0000;
  }
  return -1;
}

/** Whether [start, end) is a timestamp: seconds and nanoseconds, of any value, in this order. */
export function isPlainTimestamp(bytes: Uint8Array, start: number, end: number): boolean {
  return isStampOfToday(bytes, start, end - start) || isOtherStamp(bytes, start, end);
}

/** As nearly all are: five bytes of seconds (1978 to 2255), and four or five of nanoseconds (above 2 ms), if any. */
function isStampOfToday(bytes: Uint8Array, at: number, length: number): boolean {
  if (length !== 12 && length !== 11 && length !== 6) return false;
  const seconds =
    (bytes[at + 1] as number) & (bytes[at + 2] as number) & (bytes[at + 3] as number) & (bytes[at + 4] as number);
  if (bytes[at] !== 0x08 || seconds < 0x80 || (bytes[at + 5] as number) >= 0x80) return false;
  if (length === 6) return true;
  const nanos = (bytes[at + 7] as number) & (bytes[at + 8] as number) & (bytes[at + 9] as number);
  if (bytes[at + 6] !== 0x10 || nanos < 0x80) return false;
  const last = bytes[at + 10] as number;
  return length === 11 ? last < 0x80 : last >= 0x80 && (bytes[at + 11] as number) < 0x80;
}

function isOtherStamp(bytes: Uint8Array, start: number, end: number): boolean {
  // With two full numbers it has 22 bytes.
  if (end - start > 12) return false;
  let at = start;
  if (at < end && bytes[at] === 0x08) {
    do at++;
    while (at < end && (bytes[at] as number) >= 0x80);
    // A number has ten bytes at most.
    if (++at - start > 11) return false;
  }
  if (at < end && bytes[at] === 0x10) {
    const tag = at;
    do at++;
    while (at < end && (bytes[at] as number) >= 0x80);
    if (++at - tag > 11) return false;
  }
  return at === end;
}
