import { promisify } from "node:util";
import { gunzip, zstdDecompress } from "node:zlib";

const un = { 2: promisify(gunzip), 4: promisify(zstdDecompress) } as const;

export async function decompress(codec: number, payload: Uint8Array): Promise<Uint8Array> {
  const f = un[codec as 2 | 4];
  if (f === undefined) throw new Error(`codec ${codec} is not known`);
  return f(payload);
}
