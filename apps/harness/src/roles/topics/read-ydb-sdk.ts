import { AnonymousAuthService, Driver } from "ydb-sdk";
import type { ReadClient, ReadTarget } from "./read-client.ts";
import { silentLogger } from "./silent-logger.ts";

/** npm's `ydb-sdk`. */
export async function readByYdbSdk({ port, topic, bufferBytes = 4 << 20 }: ReadTarget): Promise<ReadClient> {
  const driver = new Driver({
    connectionString: `grpc://127.0.0.1:${port}/local`,
    authService: new AnonymousAuthService(),
    logger: silentLogger,
  });
  if (!(await driver.ready(10_000))) throw new Error("ydb-sdk's driver was not ready within 10 s");
  // Its types hide that this is a promise.
  const reader = await Promise.resolve(
    driver.topic.createReader({
      topicsReadSettings: [{ path: topic }],
      consumer: "bench",
      receiveBufferSizeInBytes: bufferBytes,
    }),
  );
  const messages = reader.messages[Symbol.asyncIterator]();
  return {
    read: async ({ ms }) => {
      let count = 0;
      let payloadBytes = 0;
      const startedMs = performance.now();
      const untilMs = startedMs + ms;
      do {
        const { value, done } = await messages.next();
        if (done === true || value === undefined) throw new Error("ydb-sdk's reader ended");
        count++;
        payloadBytes += value.data?.length ?? 0;
      } while ((count & 63) !== 0 || performance.now() < untilMs);
      return { messages: count, payloadBytes, ms: performance.now() - startedMs };
    },
    close: async () => {
      reader.close(true);
      await driver.destroy();
    },
  };
}
