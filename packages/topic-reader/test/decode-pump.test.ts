import { Compression } from "@tidemark/topic";
import { expect, test } from "vitest";
import { DecodePump } from "../src/decode-pump.ts";
import { type Chunk, Partition, PartitionSession } from "../src/partition.ts";
import { payload } from "./support/frames.ts";
import { world } from "./support/script.ts";

/** Payloads that are small on the wire and large in memory. */
class Expanding {
  readonly sessionId = 1;
  readonly length = 1;
  readonly isRaw = false;
  readonly expandedBytes = 1_000_000;
  isDecoded = false;
  offset(): number {
    return 0;
  }
  decode(): Promise<void> {
    this.isDecoded = true;
    return Promise.resolve();
  }
}

test("what is decompressed ahead is bounded by its size in memory, and every partition has at least one", () => {
  const pump = new DecodePump<Expanding>(3_000_000, () => {});
  const sessions = [0, 1, 2].map((id) => {
    const session = new PartitionSession<Expanding>(new Partition("/local/a", id), {
      id,
      committed: 0,
      firstOffset: 0,
      endOffset: 0,
    });
    session.status = "active";
    return session;
  });
  const chunks: Chunk<Expanding>[] = [];
  for (const session of sessions) {
    for (let n = 0; n < 100; n++) {
      const receipt = { bytes: 10, left: 1 };
      const chunk = { columns: new Expanding(), receipt, session, taken: 0, isReady: false };
      session.push(chunk);
      chunks.push(chunk);
      pump.add(chunk);
    }
  }
  const decoded = () => chunks.filter(({ columns }) => columns.isDecoded).length;
  expect(decoded(), "three for the first partition, and one each for the others").toBe(5);
  // The first partition is read: what it frees goes to whoever is next.
  for (let n = 0; n < 3; n++) {
    const [session] = sessions;
    if (session?.head === undefined) throw new Error("there is no first chunk");
    session.head.taken = 1;
    session.shift();
    pump.pump();
  }
  expect(decoded()).toBeGreaterThan(5);
  expect(decoded()).toBeLessThanOrEqual(5 + 3);
});

test("X12: a codec that hangs holds up its own partition, and neither others nor close", async () => {
  const { open, options, server, settle, outcome } = world();
  const hanging = {
    codec: 10_001,
    compress: (data: Uint8Array) => data,
    decompress: () => new Promise<never>(() => {}),
  };
  const { client } = options();
  const reader = await open({ client: { ...client, compression: new Compression({ codecs: [hanging] }) } });
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [{ offset: 0, data: payload("?") }], { codec: 10_001 });
  server.data(2, [0]);
  await settle();
  expect(reader.receiveNowait()?.partitionId).toBe(1);
  expect(reader.receiveNowait()).toBeNull();
  const closing = outcome(reader.close());
  await settle();
  expect(closing.state).toBe("resolved");
});
