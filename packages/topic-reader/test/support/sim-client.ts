// A client of a server in memory: what a TopicClient is to a reader.

import type { ReaderOptions } from "@tidemark/topic-reader";
import { Compression } from "@tidemark/topic";
import { classifyError } from "@tidemark/topic/internal";
import type { MemoryServer } from "@tidemark/stream/testing";

/** Breaks of the stream are retried, statuses are classified as ever. */
export function simClient(
  memory: MemoryServer<Uint8Array, Uint8Array>,
  token: () => string | undefined = () => undefined,
): ReaderOptions["client"] {
  return {
    stream: () => memory.openTransport(),
    database: "/local",
    compression: new Compression(),
    token: () => Promise.resolve(token()),
    classify: (error) =>
      error instanceof Error && error.message === "the connection broke" ? "fast" : classifyError(error),
  };
}
