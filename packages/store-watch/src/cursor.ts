/**
 * Writes a non-negative integer so that text order is number order and a person can still read it: one letter for the
 * number of digits, then the digits. `sortableInteger(7n)` is `a7`, `sortableInteger(12345n)` is `e12345`.
 *
 * @throws RangeError for a negative number or one of more than 26 digits.
 */
export function sortableInteger(value: bigint | number): string {
  const digits = value.toString();
  const length = digits.length;
  if (value < 0 || length > 26 || (typeof value === "number" && !Number.isSafeInteger(value))) {
    throw new RangeError(`a sortable integer must be a whole number in [0, 10^26), got ${digits}`);
  }
  return String.fromCharCode(96 + length) + digits;
}

/** Reads what {@link sortableInteger} wrote. @throws RangeError for anything else. */
export function parseSortableInteger(text: string): bigint {
  const length = text.charCodeAt(0) - 96;
  if (!/^[a-z](0|[1-9][0-9]*)$/.test(text) || text.length !== length + 1) {
    throw new RangeError(`expected a sortable integer such as "e12345", got ${JSON.stringify(text)}`);
  }
  return BigInt(text.slice(1));
}
