/** A key or a value. Text stands for its UTF-8 bytes. */
export type Bytes = Uint8Array | string;

const encoder = new TextEncoder();

export function toBytes(bytes: Bytes): Uint8Array {
  return typeof bytes === "string" ? encoder.encode(bytes) : bytes;
}

/** For what is kept, changed or sent to another thread. `slice()` will not do: that of a Buffer is a view. */
export function copyBytes(bytes: Bytes): Uint8Array {
  return typeof bytes === "string" ? encoder.encode(bytes) : new Uint8Array(bytes);
}

/** Unsigned, byte by byte, the shorter first: the order of keys everywhere in the store. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** The first key after `key`. */
export function successor(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** The first key after all keys that begin with `prefix`; undefined: there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  for (let at = prefix.length - 1; at >= 0; at--) {
    const byte = prefix[at] as number;
    if (byte < 0xff) {
      const end = copyBytes(prefix.subarray(0, at + 1));
      end[at] = byte + 1;
      return end;
    }
  }
  return undefined;
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** A key as a person reads it in a message: as text where it is text, else in hex; shortened. */
export function describeKey(key: Uint8Array): string {
  let shown: string;
  try {
    shown = JSON.stringify(decoder.decode(key));
  } catch {
    shown = `0x${Buffer.from(key).toString("hex")}`;
  }
  return shown.length > 80 ? `${shown.slice(0, 77)}...` : shown;
}
