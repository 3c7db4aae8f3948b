/** The first key after every key with this prefix; empty prefixes are not supported by what uses it. */
export function prefixEnd(prefix: Uint8Array): Uint8Array<ArrayBuffer> {
  const end = Uint8Array.from(prefix);
  for (let index = end.length - 1; index >= 0; index--) {
    const byte = end[index] ?? 0;
    if (byte < 0xff) {
      end[index] = byte + 1;
      return end.slice(0, index + 1);
    }
  }
  // etcd: a range that ends with a zero byte goes to the last key.
  return Uint8Array.of(0);
}

/** The smallest key above this one. */
export function nextKey(key: Uint8Array): Uint8Array<ArrayBuffer> {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** Keys as text that keeps every byte, for maps and messages. */
export function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}
