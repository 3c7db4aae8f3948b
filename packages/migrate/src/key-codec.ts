import type { SqlValue } from "./connection.ts";

/** How a key is kept in the bookkeeping: each value with its storage class, so that none changes on the way. */
type Encoded = readonly ["i" | "t" | "b", string] | readonly ["r", number | string];

/** A key as text. Equal keys give equal text; its order means nothing, only the database knows the order of keys. */
export function encodeKey(values: readonly SqlValue[]): string {
  return JSON.stringify(values.map(encodeValue));
}

export function decodeKey(text: string): SqlValue[] {
  return (JSON.parse(text) as readonly Encoded[]).map(([kind, value]) => {
    switch (kind) {
      case "i":
        return BigInt(value);
      case "b":
        return Uint8Array.from(Buffer.from(value, "hex"));
      case "r":
        return Number(value);
      default:
        return value;
    }
  });
}

function encodeValue(value: SqlValue): Encoded {
  switch (typeof value) {
    case "bigint":
      return ["i", String(value)];
    case "number":
      // JSON has no infinities, and makes null of them, behind which there is nothing.
      return ["r", Number.isFinite(value) ? value : String(value)];
    case "string":
      return ["t", value];
    default:
      // Refused before a run starts; see `faultOfKey`.
      if (value === null || value === true || value === false) throw new TypeError(`a key has no ${value}`);
      return ["b", Buffer.from(value).toString("hex")];
  }
}
