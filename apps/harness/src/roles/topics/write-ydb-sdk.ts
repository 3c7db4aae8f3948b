import { AnonymousAuthService, Driver, Ydb } from "ydb-sdk";
import { drivePromises } from "./drive-promises.ts";
import { silentLogger } from "./silent-logger.ts";
import type { WriteClient, WriteTarget } from "./write-client.ts";

/**
 * npm's `ydb-sdk`. One message a call: it settles one call for each acknowledgment, so that a call of several messages
 * settles when the first of them is acknowledged, and the calls behind it too early.
 */
export async function writeByYdbSdk({ port, topic, partitions }: WriteTarget): Promise<WriteClient> {
  const driver = new Driver({
    connectionString: `grpc://127.0.0.1:${port}/local`,
    authService: new AnonymousAuthService(),
    logger: silentLogger,
  });
  if (!(await driver.ready(10_000))) throw new Error("ydb-sdk's driver was not ready within 10 s");
  // Its types hide that these are promises.
  const writers = await Promise.all(
    Array.from({ length: partitions }, (_, id) =>
      Promise.resolve(driver.topic.createWriter({ path: topic, producerId: `bench-${id}` })),
    ),
  );
  return {
    write: (job) =>
      drivePromises((data, index) => {
        const nowMs = Date.now();
        const createdAt = { seconds: Math.floor(nowMs / 1000), nanos: (nowMs % 1000) * 1_000_000 };
        return (writers[index % partitions] as (typeof writers)[number]).send({
          codec: Ydb.Topic.Codec.CODEC_RAW,
          messages: [{ data, createdAt, uncompressedSize: data.length }],
        });
      }, job),
    close: async () => {
      for (const writer of writers) writer.close(true);
      await driver.destroy();
    },
  };
}
