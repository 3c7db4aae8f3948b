import { Compression, type CompressionOptions } from "./compression/compression.ts";
import { classifyError } from "./client/status.ts";
import type { TopicClient } from "./client/topic-client.ts";

export interface StreamClientOptions {
  /** Makes the streams: over a simulated network, for example. */
  readonly stream: TopicClient["stream"];
  /** @default none */
  readonly token?: TopicClient["token"];
  readonly compression?: CompressionOptions;
  /** Whatever else the code under test calls, such as `describeTopic`. */
  readonly methods?: Partial<TopicClient>;
}

/**
 * A client whose streams come from a function, and which has no other network: for tests and simulations of what is built
 * on a `TopicClient`. It classifies errors as the real one does, and compresses as the real one does. A method that was not
 * given throws.
 */
export function createStreamClient(options: StreamClientOptions): TopicClient {
  const absent = (name: string) => () => {
    throw new Error(`This client has no ${name}: give it as methods.${name}`);
  };
  const compression = new Compression(options.compression);
  return {
    database: "/local",
    connectionString: "grpc://in-memory/local",
    compression,
    stream: options.stream,
    token: options.token ?? (() => Promise.resolve(undefined)),
    classify: classifyError,
    createTopic: absent("createTopic"),
    describeTopic: absent("describeTopic"),
    alterTopic: absent("alterTopic"),
    dropTopic: absent("dropTopic"),
    describeConsumer: absent("describeConsumer"),
    commitOffset: absent("commitOffset"),
    transaction: absent("transaction"),
    whoAmI: absent("whoAmI"),
    close: () => compression.close(),
    destroy: () => void compression.close(),
    [Symbol.asyncDispose]: () => compression.close(),
    ...options.methods,
  };
}
