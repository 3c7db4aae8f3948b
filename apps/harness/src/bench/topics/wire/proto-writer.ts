/** Bytes a number takes as a varint. Exact below 2^53. */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  let bytes = 5;
  for (let rest = value / 0x8_0000_0000; rest >= 1; rest /= 128) bytes++;
  return bytes;
}

/** Writes a varint and returns the position after it. */
export function writeVarint(into: Uint8Array, at: number, value: number): number {
  let position = at;
  let rest = value;
  while (rest > 0x7fff_ffff) {
    into[position++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest > 127) {
    into[position++] = (rest & 127) | 0x80;
    rest >>>= 7;
  }
  into[position++] = rest;
  return position;
}

/** One field of a message that is not hot: a number, text, bytes, or a message made of the same. */
export type Field = readonly [number: number, value: number | string | Uint8Array];

/** A message from its fields. Made for handshakes; what is hot has an encoder of its own. */
export function message(...fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.flatMap(([number, value]) => field(number, value)));
}

function field(number: number, value: number | string | Uint8Array): readonly Uint8Array[] {
  if (typeof value === "number") return [varint(number * 8), varint(value)];
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return [varint(number * 8 + 2), varint(bytes.length), bytes];
}

function varint(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(varintBytes(value));
  writeVarint(bytes, 0, value);
  return bytes;
}

/** A gRPC frame around one encoded message. */
export function grpcFrame(body: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(5 + body.length);
  frame[0] = 0;
  frame.writeUInt32BE(body.length, 1);
  frame.set(body, 5);
  return frame;
}
