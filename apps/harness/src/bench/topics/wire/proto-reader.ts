/** A position in encoded bytes. */
export class ProtoReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  get hasMore(): boolean {
    return this.at < this.end;
  }

  /** Exact below 2^53. */
  varint(): number {
    const { bytes } = this;
    let byte = bytes[this.at++] as number;
    if (byte < 128) return byte;
    let value = byte & 127;
    let scale = 128;
    do {
      byte = bytes[this.at++] as number;
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte >= 128);
    return value;
  }

  /** Steps into a message that starts here, and over it. */
  nested(): ProtoReader {
    const length = this.varint();
    const start = this.at;
    this.at += length;
    return new ProtoReader(this.bytes, start, this.at);
  }

  text(): string {
    const { bytes, at, end } = this.nested();
    return Buffer.from(bytes.buffer, bytes.byteOffset + at, end - at).toString();
  }

  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        this.varint();
        return;
      case 1:
        this.at += 8;
        return;
      case 2: {
        const length = this.varint();
        this.at += length;
        return;
      }
      case 5:
        this.at += 4;
        return;
      default:
        throw new Error(`a field's wire type must be 0, 1, 2 or 5, got ${tag & 7} at byte ${this.at}`);
    }
  }
}
