import { StoreWatchError } from "../errors.ts";

/** Where the next page starts, and which moments it shows: those stay as the first page found them. */
export interface PageToken {
  readonly stream: number;
  /** The last key of the page before. */
  readonly key: Uint8Array;
  readonly positions: readonly (number | undefined)[];
}

export function encodePageToken(token: PageToken): string {
  const positions = token.positions.map((position) => position ?? "").join("_");
  return `${token.stream}.${positions}.${Buffer.from(token.key).toString("base64url")}`;
}

/** @throws {StoreWatchError} `OPTIONS_INVALID` */
export function decodePageToken(text: string): PageToken {
  const match = /^(\d+)\.([\d_]*)\.([\w-]*)$/.exec(text);
  if (match === null) throw invalid(text);
  const [, stream, positions, key] = match as unknown as [string, string, string, string];
  return {
    stream: Number(stream),
    positions: positions.split("_").map((position) => (position === "" ? undefined : Number(position))),
    key: Buffer.from(key, "base64url"),
  };
}

/** @throws {StoreWatchError} `OPTIONS_INVALID` */
export function decodePosition(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw invalid(text);
  return Number(text);
}

function invalid(text: string): StoreWatchError {
  return new StoreWatchError(
    "OPTIONS_INVALID",
    `after must be the next of an earlier page, got ${JSON.stringify(text)}`,
  );
}
