import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence, isWrapperDesc } from "@bufbuild/protobuf/wkt";

/**
 * Writes a message to `target` from `at` on, as protobuf-es does, byte for byte. Returns where it ends; -1: it does not fit,
 * or holds something that is left to protobuf-es, which knows what to do or to say. Bytes behind `at` may be written even so.
 */
export type MessageEncoder = (target: Buffer, at: number, message: object) => number;

/** The same for one value, or one of a list. */
type ValueEncoder = (target: Buffer, at: number, value: unknown) => number;
type Compiled = Map<DescMessage, MessageEncoder>;

const encoders = new WeakMap<DescMessage, MessageEncoder | null>();

/**
 * For small messages protobuf-es spends most of its time on the buffers that it makes for each of them; where they are sent
 * from is memory enough. Undefined: the type has fields of a rarer kind.
 */
export function messageEncoderOf(desc: DescMessage): MessageEncoder | undefined {
  let encoder = encoders.get(desc);
  if (encoder === undefined) {
    encoder = isPlain(desc, new Set()) ? compileMessage(desc, new Map()) : null;
    encoders.set(desc, encoder);
  }
  return encoder ?? undefined;
}

function isPlain(desc: DescMessage, seen: Set<DescMessage>): boolean {
  if (seen.has(desc)) return true;
  seen.add(desc);
  return desc.fields.every((field) => {
    if (field.fieldKind === "map" || field.presence === FeatureSet_FieldPresence.LEGACY_REQUIRED) return false;
    if (field.message !== undefined) {
      // Fields of wrappers and of Struct hold something else than a message.
      const isMapped = isWrapperDesc(field.message) || field.message.typeName === "google.protobuf.Struct";
      return !isMapped && !field.delimitedEncoding && isPlain(field.message, seen);
    }
    return field.scalar === undefined || scalars[field.scalar] !== undefined;
  });
}

function compileMessage(desc: DescMessage, compiled: Compiled): MessageEncoder {
  const known = compiled.get(desc);
  if (known !== undefined) return known;
  const { typeName } = desc;
  const fields: MessageEncoder[] = [];
  const encode = (target: Buffer, at: number, message: object): number => {
    const { $typeName, $unknown } = message as { readonly $typeName?: unknown; readonly $unknown?: unknown };
    if ($typeName !== typeName || $unknown !== undefined) return -1;
    let end = at;
    for (let n = 0; n < fields.length && end >= 0; n++) end = (fields[n] as MessageEncoder)(target, end, message);
    return end;
  };
  // Before its fields: a type can contain itself.
  compiled.set(desc, encode);
  const sorted = desc.fields.toSorted((a, b) => a.number - b.number);
  for (const field of sorted) fields.push(compileField(field, compiled));
  return encode;
}

function compileField(field: DescField, compiled: Compiled): MessageEncoder {
  const name = field.localName;
  const valueOf = (message: object): unknown => (message as Record<string, unknown>)[name];
  if (field.fieldKind === "list") return compileList(field, valueOf, compiled);
  const encode = tagged(field, compileValue(field, compiled));
  if (field.oneof !== undefined) {
    const group = field.oneof.localName;
    return (target, at, message) => {
      const choice = (message as Record<string, { readonly case?: unknown; readonly value?: unknown } | undefined>)[
        group
      ];
      if (choice === undefined) return -1;
      return choice.case === name ? encode(target, at, choice.value) : at;
    };
  }
  if (field.presence !== FeatureSet_FieldPresence.IMPLICIT) {
    return (target, at, message) => {
      const value = valueOf(message);
      // Types of proto2 have their defaults on the prototype.
      return value === undefined || !Object.hasOwn(message, name) ? at : encode(target, at, value);
    };
  }
  const isZero = zeroOf(field);
  return (target, at, message) => {
    const value = valueOf(message);
    return isZero(value) ? at : encode(target, at, value);
  };
}

/** What is not written where presence is implicit. */
function zeroOf(field: DescField): (value: unknown) => boolean {
  if (field.scalar === ScalarType.BYTES) return (value) => value instanceof Uint8Array && value.length === 0;
  const zero = field.fieldKind === "enum" ? field.enum.values[0]?.number : zeros[field.scalar as ScalarType];
  const isFloat = field.scalar === ScalarType.DOUBLE || field.scalar === ScalarType.FLOAT;
  return isFloat ? (value) => Object.is(value, 0) : (value) => value === zero;
}

function compileList(
  field: DescField & { readonly fieldKind: "list" },
  valueOf: (message: object) => unknown,
  compiled: Compiled,
): MessageEncoder {
  const value = compileValue(field, compiled);
  const encodeAll = (target: Buffer, at: number, items: readonly unknown[], encode: ValueEncoder): number => {
    let end = at;
    for (let n = 0; n < items.length && end >= 0; n++) end = encode(target, end, items[n]);
    return end;
  };
  const encodeItems: ValueEncoder = field.packed
    ? tagged(field, (target, at, items) => {
        const end = encodeAll(target, at + 1, items as readonly unknown[], value);
        return end < 0 ? -1 : closeLength(target, at, end);
      })
    : (target, at, items) => encodeAll(target, at, items as readonly unknown[], encodeItem);
  const encodeItem = tagged(field, value);
  return (target, at, message) => {
    const items = valueOf(message);
    if (!Array.isArray(items)) return -1;
    return items.length === 0 ? at : encodeItems(target, at, items);
  };
}

function compileValue(field: DescField, compiled: Compiled): ValueEncoder {
  if (field.message === undefined) return scalars[field.scalar ?? ScalarType.INT32] as ValueEncoder;
  const encode = compileMessage(field.message, compiled);
  return (target, at, value) => {
    if (typeof value !== "object" || value === null) return -1;
    const end = encode(target, at + 1, value);
    return end < 0 ? -1 : closeLength(target, at, end);
  };
}

/** Longest tag, and longest number behind it. */
const maxTagBytes = 5;
const maxNumberBytes = 10;

function tagged(field: DescField, encode: ValueEncoder): ValueEncoder {
  const isDelimited = field.message !== undefined || (field.fieldKind === "list" && field.packed);
  const tag = ((field.number << 3) | (isDelimited ? 2 : wireTypeOf(field.scalar ?? ScalarType.INT32))) >>> 0;
  return (target, at, value) => {
    if (at + maxTagBytes + maxNumberBytes > target.length) return -1;
    return encode(target, putVarint(target, at, tag), value);
  };
}

function wireTypeOf(scalar: ScalarType): number {
  switch (scalar) {
    case ScalarType.BYTES:
    case ScalarType.STRING:
      return 2;
    case ScalarType.DOUBLE:
      return 1;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return 5;
    default:
      return 0;
  }
}

/** Puts the length of what stands between `at + 1` and `end` in front of it, and makes room where one byte is too short. */
function closeLength(target: Buffer, at: number, end: number): number {
  const size = end - at - 1;
  if (size < 0x80) {
    target[at] = size;
    return end;
  }
  const more = size < 0x4000 ? 1 : size < 0x20_0000 ? 2 : size < 0x1000_0000 ? 3 : 4;
  if (end + more > target.length) return -1;
  target.copyWithin(at + 1 + more, at + 1, end);
  putVarint(target, at, size);
  return end + more;
}

function putVarint(target: Buffer, at: number, value: number): number {
  let rest = value;
  let end = at;
  while (rest > 0x7f) {
    target[end++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[end++] = rest;
  return end;
}

/** The writers of numbers rely on the room that `tagged` has found; in a packed list that is one more look each. */
const hasRoom = (target: Buffer, at: number): boolean => at + maxNumberBytes <= target.length;

function encodeBytes(target: Buffer, at: number, value: unknown): number {
  if (!(value instanceof Uint8Array)) return -1;
  const from = putVarint(target, at, value.length);
  if (from + value.length > target.length) return -1;
  target.set(value, from);
  return from + value.length;
}

/** Up to here a loop is faster than a call. */
const shortText = 32;

function encodeText(target: Buffer, at: number, value: unknown): number {
  if (typeof value !== "string") return -1;
  const { length } = value;
  if (length <= shortText && at + 1 + length <= target.length) {
    let n = 0;
    for (; n < length; n++) {
      const code = value.charCodeAt(n);
      if (code > 0x7f) break;
      target[at + 1 + n] = code;
    }
    if (n === length) {
      target[at] = length;
      return at + 1 + length;
    }
  }
  const bytes = Buffer.byteLength(value);
  const from = putVarint(target, at, bytes);
  if (from + bytes > target.length) return -1;
  return from + target.write(value, from);
}

/** Those that a number can hold exactly, and that are not negative. */
function encodeInt64(target: Buffer, at: number, value: unknown): number {
  if (typeof value !== "bigint" || value < 0n || value > Number.MAX_SAFE_INTEGER || !hasRoom(target, at)) return -1;
  let rest = Number(value);
  let end = at;
  while (rest > 0x7fff_ffff) {
    target[end++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  return putVarint(target, end, rest);
}

const maxFloat32 = 3.4028234663852886e38;
const isInt32 = (value: unknown): value is number => typeof value === "number" && (value | 0) === value;
const isUint32 = (value: unknown): value is number => typeof value === "number" && value >>> 0 === value;

const scalars: Partial<Record<ScalarType, ValueEncoder>> = {
  [ScalarType.BYTES]: encodeBytes,
  [ScalarType.STRING]: encodeText,
  [ScalarType.BOOL]: (target, at, value) => {
    if (typeof value !== "boolean" || !hasRoom(target, at)) return -1;
    target[at] = value ? 1 : 0;
    return at + 1;
  },
  [ScalarType.INT32]: (target, at, value) => {
    if (!isInt32(value) || !hasRoom(target, at)) return -1;
    if (value >= 0) return putVarint(target, at, value);
    // Extended to 64 bits: four bits of the fifth byte are its own, all above are ones.
    let end = putVarint(target, at, value >>> 0);
    target[end - 1] = (target[end - 1] as number) | 0xf0;
    while (end < at + 9) target[end++] = 0xff;
    target[end++] = 1;
    return end;
  },
  [ScalarType.UINT32]: (target, at, value) =>
    isUint32(value) && hasRoom(target, at) ? putVarint(target, at, value) : -1,
  [ScalarType.SINT32]: (target, at, value) =>
    isInt32(value) && hasRoom(target, at) ? putVarint(target, at, ((value << 1) ^ (value >> 31)) >>> 0) : -1,
  [ScalarType.FIXED32]: (target, at, value) =>
    isUint32(value) && hasRoom(target, at) ? target.writeUInt32LE(value, at) : -1,
  [ScalarType.SFIXED32]: (target, at, value) =>
    isInt32(value) && hasRoom(target, at) ? target.writeInt32LE(value, at) : -1,
  [ScalarType.FLOAT]: (target, at, value) => {
    if (typeof value !== "number" || !hasRoom(target, at)) return -1;
    return Number.isFinite(value) && Math.abs(value) > maxFloat32 ? -1 : target.writeFloatLE(value, at);
  },
  [ScalarType.DOUBLE]: (target, at, value) =>
    typeof value === "number" && hasRoom(target, at) ? target.writeDoubleLE(value, at) : -1,
  [ScalarType.INT64]: encodeInt64,
  [ScalarType.UINT64]: encodeInt64,
};

const zeros: Partial<Record<ScalarType, unknown>> = {
  [ScalarType.STRING]: "",
  [ScalarType.BOOL]: false,
  [ScalarType.INT32]: 0,
  [ScalarType.UINT32]: 0,
  [ScalarType.SINT32]: 0,
  [ScalarType.FIXED32]: 0,
  [ScalarType.SFIXED32]: 0,
  [ScalarType.INT64]: 0n,
  [ScalarType.UINT64]: 0n,
};
