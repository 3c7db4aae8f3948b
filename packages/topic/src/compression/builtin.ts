import {
  constants,
  gunzip,
  gunzipSync,
  gzip,
  gzipSync,
  zstdCompress,
  zstdCompressSync,
  zstdDecompress,
  zstdDecompressSync,
} from "node:zlib";
import { TopicError } from "../topic-error.ts";

/** What the built-in codecs are told, here and in the thread. */
export interface BuiltinSettings {
  /** 1 (fastest) to 9. */
  readonly gzipLevel: number;
  /** 1 (fastest) to 19. */
  readonly zstdLevel: number;
  readonly maxOutputBytes: number;
}

export type Direction = "compress" | "decompress";

// topic.proto, Codec.
const gzipCodec = 2;
const zstdCodec = 4;

export const isBuiltin = (codec: number): boolean => codec === gzipCodec || codec === zstdCodec;

const zstdOptions = ({ zstdLevel }: BuiltinSettings) => ({
  params: { [constants.ZSTD_c_compressionLevel]: zstdLevel },
});

/** @throws {TopicError} `DATA_CORRUPT`, `DATA_TOO_LARGE` */
export function runSync(direction: Direction, codec: number, data: Uint8Array, settings: BuiltinSettings): Uint8Array {
  try {
    if (direction === "compress") {
      if (codec === gzipCodec) return gzipSync(data, { level: settings.gzipLevel });
      return zstdCompressSync(data, zstdOptions(settings));
    }
    const limit = { maxOutputLength: settings.maxOutputBytes };
    const output = codec === gzipCodec ? gunzipSync(data, limit) : zstdDecompressSync(data, limit);
    return checked(output, data);
  } catch (error) {
    throw codecError(direction, codec, error, settings);
  }
}

/** The same on a thread of libuv's pool. */
export function runInPool(
  direction: Direction,
  codec: number,
  data: Uint8Array,
  settings: BuiltinSettings,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, output: Uint8Array) => {
      try {
        if (error !== null) throw error;
        resolve(direction === "compress" ? output : checked(output, data));
      } catch (caught) {
        reject(codecError(direction, codec, caught, settings));
      }
    };
    if (direction === "compress") {
      if (codec === gzipCodec) gzip(data, { level: settings.gzipLevel }, done);
      else zstdCompress(data, zstdOptions(settings), done);
      return;
    }
    const limit = { maxOutputLength: settings.maxOutputBytes };
    if (codec === gzipCodec) gunzip(data, limit, done);
    else zstdDecompress(data, limit, done);
  });
}

/** No bytes at all are not compressed data, although zlib takes them for it. */
function checked(output: Uint8Array, input: Uint8Array): Uint8Array {
  if (input.length === 0) throw new Error("it is empty");
  return output;
}

function codecError(direction: Direction, codec: number, error: unknown, settings: BuiltinSettings): TopicError {
  const name = codec === gzipCodec ? "gzip" : "zstd";
  if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") {
    const limit = settings.maxOutputBytes;
    return new TopicError(
      "DATA_TOO_LARGE",
      `More than ${limit} bytes come out of the ${name} data: raise maxOutputBytes`,
      {
        cause: error,
      },
    );
  }
  const why = error instanceof Error ? error.message : String(error);
  const what = direction === "compress" ? `could not compress to ${name}` : `not valid ${name} data`;
  return new TopicError("DATA_CORRUPT", `${what}: ${why}`, { cause: error });
}
