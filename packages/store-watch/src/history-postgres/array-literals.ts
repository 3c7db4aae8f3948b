// Arrays as PostgreSQL reads them. The driver can do this, too, one value and one function call after the other, at twice
// the time; for thousands of rows at once that is most of what a commit costs here.

export function numberArray(values: readonly (number | null)[]): string {
  return `{${values.map((value) => value ?? "NULL").join(",")}}`;
}

export function booleanArray(values: readonly boolean[]): string {
  return `{${values.join(",")}}`;
}

export function textArray(values: readonly (string | null)[]): string {
  return `{${values.map((value) => (value === null ? "NULL" : `"${escaped(value)}"`)).join(",")}}`;
}

export function bytesArray(values: readonly (Uint8Array | null | undefined)[]): string {
  return `{${values.map((value) => (value == null ? "NULL" : `"\\\\x${hex(value)}"`)).join(",")}}`;
}

const special = /[\\"]/;

function escaped(text: string): string {
  return special.test(text) ? text.replace(/[\\"]/g, "\\$&") : text;
}

function hex(bytes: Uint8Array): string {
  const { buffer, byteOffset, byteLength } = bytes;
  return Buffer.from(buffer, byteOffset, byteLength).toString("hex");
}
