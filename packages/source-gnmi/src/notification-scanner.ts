/**
 * Finds its way in an encoded SubscribeResponse without making a message of it: where each path and each value is. It takes
 * what nearly all notifications are, updates with or without a prefix; deletions, atomic ones, extensions and whatever else
 * there is are for the generated code.
 */
export class NotificationScanner {
  bytes: Buffer = Buffer.alloc(0);
  /** Nanoseconds, rounded to what a double holds. */
  timestampNs = 0;
  prefixStart = 0;
  prefixEnd = 0;
  /** Updates that were found. */
  count = 0;
  /** For each: where its path begins and ends, where its value does, and its duplicates. */
  readonly fields: number[] = [];
  #at = 0;
  #isBroken = false;

  /** False: this frame is not for us, and nothing about it is known. */
  scan(frame: Uint8Array): boolean {
    const bytes = Buffer.isBuffer(frame) ? frame : Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
    this.bytes = bytes;
    this.timestampNs = 0;
    this.prefixStart = 0;
    this.prefixEnd = 0;
    this.count = 0;
    this.#isBroken = false;
    // SubscribeResponse: field 1, the notification, and nothing behind it.
    if (bytes[0] !== 0x0a) return false;
    this.#at = 1;
    const length = this.#varint();
    if (this.#isBroken || this.#at + length !== bytes.length) return false;
    return this.#notification(bytes.length);
  }

  #notification(end: number): boolean {
    while (this.#at < end) {
      const tag = this.bytes[this.#at++];
      if (tag === 0x08) {
        this.timestampNs = this.#varint();
        // Above this it is negative, which nothing here understands.
        if (this.timestampNs >= 2 ** 63) return false;
      } else if (tag === 0x12 || tag === 0x22) {
        const length = this.#varint();
        const start = this.#at;
        if (this.#isBroken || start + length > end) return false;
        if (tag === 0x12) {
          // Two of them would have to be merged.
          if (this.prefixEnd > 0) return false;
          this.prefixStart = start;
          this.prefixEnd = start + length;
        } else if (!this.#update(start, start + length)) return false;
        this.#at = start + length;
      } else return false;
      if (this.#isBroken) return false;
    }
    // Without an update nobody would read the prefix, which may be broken.
    return this.#at === end && this.count > 0;
  }

  #update(start: number, end: number): boolean {
    let [pathStart, pathEnd, valueStart, valueEnd, duplicates] = [0, 0, 0, 0, 0];
    for (this.#at = start; this.#at < end; ) {
      const tag = this.bytes[this.#at++];
      const number = this.#varint();
      if (this.#isBroken) return false;
      if (tag === 0x20) {
        if (number >= 2 ** 32) return false;
        duplicates = number;
        continue;
      }
      const from = this.#at;
      const to = from + number;
      if (to > end) return false;
      if (tag === 0x0a && pathEnd === 0) [pathStart, pathEnd] = [from, to];
      else if (tag === 0x1a && valueEnd === 0) [valueStart, valueEnd] = [from, to];
      else return false;
      this.#at = to;
    }
    if (this.#at !== end || pathEnd === 0 || valueEnd === 0) return false;
    const { fields } = this;
    const at = this.count++ * 5;
    fields[at] = pathStart;
    fields[at + 1] = pathEnd;
    fields[at + 2] = valueStart;
    fields[at + 3] = valueEnd;
    fields[at + 4] = duplicates;
    return true;
  }

  /** As a double; what is larger than one holds exactly is rounded. */
  #varint(): number {
    const { bytes } = this;
    let value = 0;
    let factor = 1;
    for (let read = 0; read < 10; read++) {
      const byte = bytes[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 128;
    }
    this.#isBroken = true;
    return 0;
  }
}

/**
 * The JSON text of a value that needs no decoding of a message; undefined: it needs that. `bytes` from `start` to `end` are
 * a TypedValue.
 */
export function scalarText(bytes: Buffer, start: number, end: number): string | undefined {
  switch (bytes[start]) {
    // string_val
    case 0x0a: {
      const length = bytes[start + 1];
      if (length === undefined || length >= 0x80 || start + 2 + length !== end) return undefined;
      const text = bytes.toString("utf8", start + 2, end);
      // What is no UTF-8 is an error, which the generated code knows how to tell.
      return text.includes("\ufffd") ? undefined : JSON.stringify(text);
    }
    // int_val and uint_val, as long as a double holds them.
    case 0x10:
    case 0x18: {
      if (bytes[start] === 0x10 && end - start === negativeBytes + 1) return negativeText(bytes, start + 1);
      let value = 0;
      let factor = 1;
      for (let at = start + 1; at < end; at++, factor *= 128) {
        const byte = bytes[at] as number;
        value += (byte & 0x7f) * factor;
        if (byte < 0x80) return at === end - 1 && value <= Number.MAX_SAFE_INTEGER ? String(value) : undefined;
      }
      return undefined;
    }
    // bool_val
    case 0x20:
      if (end - start !== 2) return undefined;
      return bytes[start + 1] === 1 ? "true" : bytes[start + 1] === 0 ? "false" : undefined;
    // json_val and json_ietf_val
    case 0x52:
    case 0x5a: {
      const length = bytes[start + 1];
      if (length === undefined || length >= 0x80 || start + 2 + length !== end) return undefined;
      const text = bytes.toString("latin1", start + 2, end);
      return sameWhenRead.test(text) ? text : undefined;
    }
    default:
      return undefined;
  }
}

/** JSON that is written as it was read: numbers keep their digits, and there is nothing to escape or to leave out. */
const sameWhenRead = /^(?:"[ !#-[\]-~]*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)$/;

/** A negative number has all the bytes that there are. */
const negativeBytes = 10;

function negativeText(bytes: Buffer, from: number): string | undefined {
  // Two's complement: what is missing to -1.
  let missing = 0;
  let factor = 1;
  for (let at = from; at < from + negativeBytes - 1; at++, factor *= 128) {
    const byte = bytes[at] as number;
    if (byte < 0x80) return undefined;
    missing += (~byte & 0x7f) * factor;
  }
  if (bytes[from + negativeBytes - 1] !== 1 || missing >= Number.MAX_SAFE_INTEGER) return undefined;
  return String(-1 - missing);
}
