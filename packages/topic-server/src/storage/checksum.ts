// CRC-32 is a remainder of polynomials over GF(2), with the coefficient of x^0 in the highest bit. So the checksum of two parts
// one after the other is that of the first times x^(8 · bytes of the second), plus that of the second.

const polynomial = 0xedb8_8320;

function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bit = 0x8000_0000; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= factor;
    factor = (factor & 1) === 0 ? factor >>> 1 : (factor >>> 1) ^ polynomial;
  }
  return product >>> 0;
}

/** x^(8 · 2^n), for each n. */
const shifts: number[] = [0x0080_0000];
while (shifts.length < 32) shifts.push(multiply(shifts.at(-1) as number, shifts.at(-1) as number));

/** The CRC-32 of two parts, from that of each: what is large need not be gone through again when its header is known. */
export function joinChecksums(first: number, second: number, secondBytes: number): number {
  let joined = first;
  for (let n = 0, bytes = secondBytes; bytes !== 0; n++, bytes >>>= 1) {
    if ((bytes & 1) !== 0) joined = multiply(shifts[n] as number, joined);
  }
  return (joined ^ second) >>> 0;
}
